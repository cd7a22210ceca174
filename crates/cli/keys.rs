//! `engraft keys`: who a server and its clients are.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use engraft_wire::{KeyPair, KnownClients, PublicKey};

use crate::progress::{note, say};

/// Keys for a server that other machines can reach: made here, or by pyzmq.
#[derive(clap::Subcommand)]
pub(crate) enum Args {
    /// Make a pair: NAME.key to hand out, NAME.key_secret to keep.
    New {
        /// For the server, and one for each client; may begin with a folder that is there.
        name: PathBuf,
    },
    /// Show the public keys in certificates, or in a folder of them.
    Show {
        /// Certificates and folders.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match args {
        Args::New { name } => {
            let [public, secret] = KeyPair::new()?.write(name)?;
            say(public.display())?;
            say(secret.display())?;
            note("the second is the proof of who you are: keep it on this machine");
            note(
                "next: engraft serve RUN --bind tcp://*:5555 --curve-key SERVER.key_secret --curve-clients FOLDER",
            );
            note("      engraft bridge --server-key SERVER.key --client-key CLIENT.key_secret");
        }
        Args::Show { paths } => paths.iter().try_for_each(|path| show(path))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        for (name, key) in KnownClients::open(path)?.keys()? {
            say(format_args!("{key}  {name}"))?;
        }
        return Ok(());
    }
    say(format_args!("{}  {}", PublicKey::read(path)?, path.display()))
}
