//! Writing an HDF5 file front to back: data first, then what names it, the first bytes last.
//!
//! The `hdf5-pure` crate writes a file from memory, where a day of demonstrations has no room.
//! This writes each picture when it comes and remembers where it went. The layout is the oldest
//! one, which every program reads: object headers of version 1, groups as symbol tables, chunks
//! in trees of version 1.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::messages::{self, Attribute, NOWHERE, Stored, pad};
use crate::DatasetError;

/// Bytes before everything else.
const SUPERBLOCK: usize = 96;
/// Half the names of a leaf of a group's tree.
const LEAF_HALF: usize = 16;
/// Half the children of a node of a group's tree.
const GROUP_HALF: usize = 16;
/// Half the children of a node of a chunks' tree; the format's default.
const CHUNK_HALF: usize = 32;
/// Bytes of a heap of text.
const HEAP: usize = 1 << 16;
/// Bytes of a heap's own header, and of each text's.
const HEAP_HEAD: usize = 16;
/// Bytes that an attribute may have beside its name.
const MAX_ATTRIBUTE: usize = 60_000;

/// A file that is being written.
pub(crate) struct Writer {
    file: BufWriter<File>,
    path: PathBuf,
    staging: PathBuf,
    end: u64,
    heap: Option<Heap>,
}

/// Pictures of one camera that are in the file already, and what they were packed with.
pub(crate) struct Chunks {
    row: Vec<u64>,
    stored: Stored,
    deflate: Option<u32>,
    places: Vec<(u64, u32)>,
}

/// A group that is in the file already.
pub(crate) struct Written {
    header: u64,
    tree: u64,
    names: u64,
}

/// Text of attributes, written when it is full; its place is taken when it is begun.
struct Heap {
    address: u64,
    bytes: Vec<u8>,
    count: u16,
}

impl Chunks {
    /// None yet; each will be one row of that shape.
    pub(crate) fn new(stored: Stored, row: &[usize], deflate: Option<u32>) -> Self {
        let row = row.iter().map(|&side| side as u64).collect();
        Self { row, stored, deflate, places: Vec::new() }
    }
}

impl Writer {
    /// Starts a file that will be at `path` when it is whole.
    pub(crate) fn create(path: &Path) -> Result<Self, DatasetError> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(DatasetError::write(parent))?;
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".tmp");
        let staging = path.with_file_name(name);
        let file = File::create(&staging).map_err(DatasetError::write(&staging))?;
        let file = BufWriter::with_capacity(1 << 18, file);
        let mut writer = Self { file, path: path.to_owned(), staging, end: 0, heap: None };
        writer.append(&[0; SUPERBLOCK])?;
        Ok(writer)
    }

    /// Writes `bytes` and says where they are.
    fn append(&mut self, bytes: &[u8]) -> Result<u64, DatasetError> {
        let address = self.end;
        let padding = bytes.len().next_multiple_of(8) - bytes.len();
        let written =
            self.file.write_all(bytes).and_then(|()| self.file.write_all(&[0; 8][..padding]));
        written.map_err(DatasetError::write(&self.staging))?;
        self.end += (bytes.len() + padding) as u64;
        Ok(address)
    }

    /// Writes a dataset in one piece.
    pub(crate) fn dataset(
        &mut self,
        stored: Stored,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<u64, DatasetError> {
        let shape: Vec<u64> = shape.iter().map(|&side| side as u64).collect();
        let address = if bytes.is_empty() { NOWHERE } else { self.append(bytes)? };
        let header = messages::header(&[
            (0x01, messages::dataspace(&shape)),
            (0x03, stored.message()),
            (0x05, messages::fill_value(false)),
            (0x08, messages::run(address, bytes.len() as u64)),
        ]);
        self.append(&header)
    }

    /// Writes one more row of a dataset in chunks.
    pub(crate) fn row(&mut self, chunks: &mut Chunks, bytes: &[u8]) -> Result<(), DatasetError> {
        let packed;
        let bytes = match chunks.deflate {
            Some(level) => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
                let done = encoder.write_all(bytes).and_then(|()| encoder.finish());
                packed = done.map_err(DatasetError::write(&self.staging))?;
                &packed
            }
            None => bytes,
        };
        let address = self.append(bytes)?;
        chunks.places.push((address, bytes.len() as u32));
        Ok(())
    }

    /// Writes what names the rows that were written.
    pub(crate) fn chunked(&mut self, chunks: &Chunks) -> Result<u64, DatasetError> {
        let tree = self.chunk_tree(chunks)?;
        let with = |rows: u64| [&[rows], &chunks.row[..]].concat();
        let mut parts = vec![
            (0x01, messages::dataspace(&with(chunks.places.len() as u64))),
            (0x03, chunks.stored.message()),
            (0x05, messages::fill_value(true)),
            (0x08, messages::chunks(tree, &with(1), chunks.stored.size())),
        ];
        parts.extend(chunks.deflate.map(|level| (0x0b, messages::deflate(level))));
        self.append(&messages::header(&parts))
    }

    /// Writes the tree of chunks, of which each is one row.
    fn chunk_tree(&mut self, chunks: &Chunks) -> Result<u64, DatasetError> {
        let key = |row: usize, size: u32| {
            let mut key = size.to_le_bytes().to_vec();
            key.extend([0; 4]);
            key.extend((row as u64).to_le_bytes());
            key.extend(vec![0; (chunks.row.len() + 1) * 8]);
            key
        };
        let places = chunks.places.iter().enumerate();
        let entries = places.map(|(row, &(address, size))| (key(row, size), address)).collect();
        if chunks.places.is_empty() {
            return Ok(NOWHERE);
        }
        self.tree(1, CHUNK_HALF, entries, &key(chunks.places.len(), 0), false)
    }

    /// Writes a tree over `entries`, which are in order; `last` is the key after them.
    ///
    /// A key is the least of its child, or, where `upper` says so, the greatest of the one before.
    fn tree(
        &mut self,
        kind: u8,
        half: usize,
        mut entries: Vec<(Vec<u8>, u64)>,
        last: &[u8],
        upper: bool,
    ) -> Result<u64, DatasetError> {
        let least = vec![0; last.len()];
        let node_bytes = 24 + (2 * half + 1) * last.len() + 2 * half * 8;
        for level in 0_u8.. {
            let count = entries.len().div_ceil(2 * half).max(1);
            let first = self.end;
            let address = |node: Option<usize>| {
                node.map_or(NOWHERE, |node| first + (node * node_bytes.next_multiple_of(8)) as u64)
            };
            let mut above = Vec::with_capacity(count);
            for node in 0..count {
                let (from, to) = (node * 2 * half, ((node + 1) * 2 * half).min(entries.len()));
                let mut bytes = b"TREE".to_vec();
                bytes.extend([kind, level]);
                bytes.extend(((to - from) as u16).to_le_bytes());
                bytes.extend(address(node.checked_sub(1)).to_le_bytes());
                bytes.extend(address((node + 1 < count).then_some(node + 1)).to_le_bytes());
                for at in from..to {
                    let before = if at == 0 { &least } else { &entries[at - 1].0 };
                    bytes.extend(if upper { before } else { &entries[at].0 });
                    bytes.extend(entries[at].1.to_le_bytes());
                }
                let end =
                    if upper { entries[to.saturating_sub(1)..].first() } else { entries.get(to) };
                bytes.extend(end.map_or(last, |(key, _)| key));
                bytes.resize(node_bytes, 0);
                let key = if upper { to.saturating_sub(1) } else { from };
                let key = entries.get(key).map_or_else(|| last.to_vec(), |(key, _)| key.clone());
                above.push((key, self.append(&bytes)?));
            }
            if let [(_, root)] = above[..] {
                return Ok(root);
            }
            entries = above;
        }
        unreachable!("each level has fewer nodes than the one below")
    }

    /// Writes a group of objects that are in the file already.
    pub(crate) fn group(
        &mut self,
        mut members: Vec<(String, u64)>,
        attributes: &[(&str, Attribute)],
    ) -> Result<Written, DatasetError> {
        members.sort_unstable();
        let mut names = vec![0; 8];
        let mut leaves = Vec::new();
        for leaf in members.chunks(2 * LEAF_HALF) {
            let mut bytes = b"SNOD".to_vec();
            bytes.extend([1, 0]);
            bytes.extend((leaf.len() as u16).to_le_bytes());
            let mut greatest = 0;
            for (name, address) in leaf {
                greatest = names.len() as u64;
                bytes.extend(greatest.to_le_bytes());
                bytes.extend(address.to_le_bytes());
                bytes.extend([0; 24]);
                names.extend(name.as_bytes());
                names.push(0);
                pad(&mut names);
            }
            bytes.resize(8 + 2 * LEAF_HALF * 40, 0);
            leaves.push((greatest.to_le_bytes().to_vec(), self.append(&bytes)?));
        }
        let tree = self.tree(0, GROUP_HALF, leaves, &[0; 8], true)?;
        let at = self.append(&names)?;
        let mut heap = b"HEAP\0\0\0\0".to_vec();
        heap.extend((names.len() as u64).to_le_bytes());
        heap.extend(1_u64.to_le_bytes()); // no free block
        heap.extend(at.to_le_bytes());
        let names = self.append(&heap)?;
        let mut parts = vec![(0x11, [tree.to_le_bytes(), names.to_le_bytes()].concat())];
        for (name, attribute) in attributes {
            parts.push((0x0c, self.attribute(name, attribute)?));
        }
        let header = self.append(&messages::header(&parts))?;
        Ok(Written { header, tree, names })
    }

    fn attribute(&mut self, name: &str, value: &Attribute) -> Result<Vec<u8>, DatasetError> {
        Ok(match value {
            Attribute::Integer(number) => {
                messages::attribute(name, &Stored::I64.message(), &number.to_le_bytes())
            }
            Attribute::Text(text) => {
                messages::attribute(name, &messages::long_text(), &self.text(name, text)?)
            }
        })
    }

    /// Puts text into the heap and gives what points there.
    fn text(&mut self, name: &str, text: &str) -> Result<Vec<u8>, DatasetError> {
        if text.len() > MAX_ATTRIBUTE {
            let expected = format!("at most {MAX_ATTRIBUTE} bytes of text");
            let found = text.len().to_string();
            return Err(DatasetError::content(name, expected, found, &self.path));
        }
        let needed = HEAP_HEAD + text.len().next_multiple_of(8);
        let room = |heap: &Heap| heap.bytes.len() + needed + HEAP_HEAD <= HEAP;
        if !self.heap.as_ref().is_some_and(room) {
            self.flush_heap()?;
            let address = self.append(&vec![0; HEAP])?;
            let mut bytes = b"GCOL\x01\0\0\0".to_vec();
            bytes.extend((HEAP as u64).to_le_bytes());
            self.heap = Some(Heap { address, bytes, count: 0 });
        }
        let heap = self.heap.as_mut().expect("one was begun above");
        heap.count += 1;
        heap.bytes.extend(heap.count.to_le_bytes());
        heap.bytes.extend([1, 0, 0, 0, 0, 0]);
        heap.bytes.extend((text.len() as u64).to_le_bytes());
        heap.bytes.extend(text.as_bytes());
        pad(&mut heap.bytes);
        let mut pointer = (text.len() as u32).to_le_bytes().to_vec();
        pointer.extend(heap.address.to_le_bytes());
        pointer.extend(u32::from(heap.count).to_le_bytes());
        Ok(pointer)
    }

    fn flush_heap(&mut self) -> Result<(), DatasetError> {
        let Some(mut heap) = self.heap.take() else { return Ok(()) };
        let rest = (HEAP - heap.bytes.len()) as u64;
        heap.bytes.extend([0; 8]);
        heap.bytes.extend(rest.to_le_bytes());
        heap.bytes.resize(HEAP, 0);
        self.overwrite(heap.address, &heap.bytes).map_err(DatasetError::write(&self.staging))
    }

    fn overwrite(&mut self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(address))?;
        self.file.write_all(bytes)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        Ok(())
    }

    /// Makes `root` the group that holds all others, syncs the file and gives it its name.
    pub(crate) fn finish(&mut self, root: &Written) -> Result<(), DatasetError> {
        self.flush_heap()?;
        let mut bytes = b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0".to_vec();
        bytes.extend((LEAF_HALF as u16).to_le_bytes());
        bytes.extend((GROUP_HALF as u16).to_le_bytes());
        bytes.extend([0; 4]);
        for place in [0, NOWHERE, self.end, NOWHERE, 0, root.header] {
            bytes.extend(place.to_le_bytes());
        }
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(root.tree.to_le_bytes());
        bytes.extend(root.names.to_le_bytes());
        let done = self.overwrite(0, &bytes).and_then(|()| {
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            fs::rename(&self.staging, &self.path)?;
            let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        });
        done.map_err(DatasetError::write(&self.path))
    }
}

impl Written {
    /// Where it is.
    pub(crate) fn address(&self) -> u64 {
        self.header
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Nobody can use what was not finished; once it was, nothing has this name.
        let _ = fs::remove_file(&self.staging);
    }
}
