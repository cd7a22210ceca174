//! What our encoders make of commands, for judges that know better: `packets PROTOCOL`.
//!
//! A command is a line of input, its packet in hexadecimal a line of output. For `feetech`:
//! `ping ID`, `read ID ADDRESS LENGTH`, `write ID ADDRESS HEX`, `reg_write ID ADDRESS HEX`,
//! `action ID`, `sync_read ADDRESS LENGTH ID ...`, `sync_write ADDRESS LENGTH ID HEX ...`.

use std::fmt::Write as _;
use std::io::{self, BufRead, Write};

use anyhow::{Context, bail};
use firmware_bridge::codecs::feetech;

fn main() -> anyhow::Result<()> {
    let protocol = std::env::args().nth(1).context("which protocol? for example feetech")?;
    let encode = match protocol.as_str() {
        "feetech" => feetech_packet,
        _ => bail!("no protocol is called {protocol}: known is feetech"),
    };
    let mut output = io::BufWriter::new(io::stdout().lock());
    let mut packet = Vec::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        packet.clear();
        encode(&line, &mut packet).with_context(|| format!("cannot encode `{line}`"))?;
        let mut hex = String::with_capacity(2 * packet.len());
        for byte in &packet {
            write!(hex, "{byte:02x}")?;
        }
        writeln!(output, "{hex}")?;
    }
    Ok(output.flush()?)
}

fn feetech_packet(line: &str, out: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut words = line.split_whitespace();
    let name = words.next().context("it is empty")?;
    let words: Vec<&str> = words.collect();
    match (name, words.as_slice()) {
        ("ping", [id]) => feetech::ping(out, id.parse()?)?,
        ("action", [id]) => feetech::action(out, id.parse()?)?,
        ("read", [id, address, length]) => {
            feetech::read(out, id.parse()?, address.parse()?, length.parse()?)?;
        }
        ("write", [id, address, data]) => {
            feetech::write(out, id.parse()?, address.parse()?, &bytes(data)?)?;
        }
        ("reg_write", [id, address, data]) => {
            feetech::reg_write(out, id.parse()?, address.parse()?, &bytes(data)?)?;
        }
        ("sync_read", [address, length, ids @ ..]) => {
            let ids: Result<Vec<u8>, _> = ids.iter().map(|id| id.parse()).collect();
            feetech::sync_read(out, address.parse()?, length.parse()?, ids?)?;
        }
        ("sync_write", [address, length, rows @ ..]) => {
            let rows: anyhow::Result<Vec<(u8, Vec<u8>)>> = rows
                .chunks(2)
                .map(|row| match row {
                    [id, data] => Ok((id.parse()?, bytes(data)?)),
                    _ => bail!("a row is an id and its bytes"),
                })
                .collect();
            feetech::sync_write(out, address.parse()?, length.parse()?, rows?)?;
        }
        _ => bail!("there is no such command"),
    }
    Ok(())
}

fn bytes(hex: &str) -> anyhow::Result<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}
