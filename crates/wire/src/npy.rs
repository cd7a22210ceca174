//! NumPy's file of one array, as `numpy.save` writes it.
//!
//! Source: the format's description in `numpy.lib.format`, versions 1.0 to 3.0.

/// What every file begins with.
const MAGIC: &[u8] = b"\x93NUMPY";
/// The header is padded so that values begin at a multiple of this.
const ALIGN: usize = 64;
/// Axes that NumPy's arrays have at most.
const MAX_AXES: usize = 64;

/// A file that was taken apart.
#[derive(Debug, PartialEq)]
pub(crate) struct Npy<'a> {
    /// The type of its elements, such as `<f4`.
    pub(crate) dtype: String,
    pub(crate) shape: Vec<usize>,
    /// Whether the first axis runs fastest.
    pub(crate) fortran: bool,
    /// All behind the header.
    pub(crate) bytes: &'a [u8],
}

/// Takes a file apart; the error says what is wrong with it.
pub(crate) fn parse(file: &[u8]) -> Result<Npy<'_>, String> {
    let rest = file.strip_prefix(MAGIC).ok_or("it is no .npy file")?;
    let (&[major, _minor], rest) = rest.split_first_chunk().ok_or("its .npy header is cut off")?;
    let (len, rest) = match major {
        1 => rest
            .split_first_chunk()
            .map(|(len, rest)| (usize::from(u16::from_le_bytes(*len)), rest)),
        2 | 3 => {
            rest.split_first_chunk().map(|(len, rest)| (u32::from_le_bytes(*len) as usize, rest))
        }
        _ => return Err(format!("expected .npy version 1 to 3, found {major}")),
    }
    .ok_or("its .npy header is cut off")?;
    let (header, bytes) = rest.split_at_checked(len).ok_or("its .npy header is cut off")?;
    let header = std::str::from_utf8(header).map_err(|_| "its .npy header is not text")?;
    let after = |key: &str| {
        let at = header.find(&format!("'{key}':"));
        at.map(|at| header[at + key.len() + 3..].trim_start())
            .ok_or_else(|| format!("its .npy header has no `{key}`"))
    };
    let dtype = after("descr")?.strip_prefix('\'').and_then(|rest| rest.split_once('\''));
    let (dtype, _) = dtype.ok_or("its .npy header describes records, expected plain numbers")?;
    let fortran = match after("fortran_order")? {
        text if text.starts_with("True") => true,
        text if text.starts_with("False") => false,
        _ => return Err("`fortran_order` of its .npy header is no truth".into()),
    };
    let sides = after("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let (sides, _) = sides.ok_or("`shape` of its .npy header is no tuple")?;
    let sides = sides.split(',').map(str::trim).filter(|side| !side.is_empty());
    // A side is eight bytes in a program and may be two in a file.
    if sides.clone().nth(MAX_AXES).is_some() {
        return Err(format!("`shape` of its .npy header has more than {MAX_AXES} axes"));
    }
    let shape = sides.map(str::parse).collect::<Result<_, _>>();
    let shape = shape.map_err(|_| "`shape` of its .npy header is no tuple of whole numbers")?;
    Ok(Npy { dtype: dtype.into(), shape, fortran, bytes })
}

/// A file of 32-bit floats, whose bytes are `data`.
pub(crate) fn write(shape: &[usize], data: &[u8]) -> Vec<u8> {
    let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
    // A tuple of one has a comma behind it.
    let sides = sides.join(", ") + if shape.len() == 1 { "," } else { "" };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sides}), }}");
    // Magic, version and length come before; a line end after.
    let before = MAGIC.len() + 4;
    let padded = (before + header.len() + 1).next_multiple_of(ALIGN) - before - 1;
    header.extend(std::iter::repeat_n(' ', padded - header.len()));
    header.push('\n');
    let len = u16::try_from(header.len()).unwrap_or(u16::MAX).to_le_bytes();
    [MAGIC, &[1, 0], &len, header.as_bytes(), data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        for shape in [&[][..], &[3], &[2, 1], &[1, 2, 3, 4, 5]] {
            let data = vec![7; shape.iter().product::<usize>() * 4];
            let file = write(shape, &data);
            assert_eq!((file.len() - data.len()) % ALIGN, 0);
            let (shape, bytes) = (shape.to_vec(), &data[..]);
            assert_eq!(
                parse(&file).unwrap(),
                Npy { dtype: "<f4".into(), shape, fortran: false, bytes }
            );
        }
    }

    #[test]
    fn each_part_of_a_header_is_missed() {
        let file = |header: &str| {
            let len = u16::try_from(header.len()).unwrap().to_le_bytes();
            [MAGIC, &[1, 0], &len, header.as_bytes()].concat()
        };
        let error = |header: &str| parse(&file(header)).unwrap_err();
        assert!(error("{'fortran_order': False, 'shape': (1,)}").contains("descr"));
        assert!(error("{'descr': '<f4', 'shape': (1,)}").contains("fortran_order"));
        assert!(error("{'descr': '<f4', 'fortran_order': False}").contains("shape"));
        let records = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}";
        assert!(error(records).contains("records"));
        assert!(error("{'descr': '<f4', 'fortran_order': 1, 'shape': (1,)}").contains("no truth"));
        assert!(error("{'descr': '<f4', 'fortran_order': True, 'shape': (-1,)}").contains("whole"));
        let many = "1,".repeat(MAX_AXES + 1);
        let many = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({many})}}");
        assert!(error(&many).contains("more than 64 axes"));
        assert!(parse(b"\x93NUMPY\x09\0\0\0").unwrap_err().contains("version"));
        assert!(parse(b"PK").unwrap_err().contains("no .npy"));
    }
}
