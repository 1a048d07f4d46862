//! The printable alphabet in which byte-level vocabularies spell their bytes.
//!
//! Bytes 33–126, 161–172 and 174–255 stand for themselves as code points; the other 68, in increasing order, are U+0100
//! onwards, so a space is `Ġ` and a line feed `Ċ` (the GPT-2 vocabulary's convention).

const fn is_itself(byte: u8) -> bool {
    matches!(byte, 33..=126 | 161..=172 | 174..=255)
}

/// The bytes that have a code point from U+0100 on, in its order.
const SHIFTED: [u8; 68] = {
    let mut shifted = [0; 68];
    let mut n = 0;
    let mut byte = 0;
    while byte < 256 {
        if !is_itself(byte as u8) {
            shifted[n] = byte as u8;
            n += 1;
        }
        byte += 1;
    }
    shifted
};

/// The byte that `c` spells, or `None` for a character outside the alphabet.
pub(super) fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ 0..=255 => is_itself(code as u8).then_some(code as u8),
        code => SHIFTED.get(code as usize - 256).copied(),
    }
}

/// Replaces `out` by the bytes that `text` spells. Returns whether every character was of the alphabet; others (special
/// tokens) are taken literally.
pub(super) fn decode_into(text: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let Ok(text) = std::str::from_utf8(text) else {
        out.extend_from_slice(text);
        return false;
    };
    let mut all_spelled = true;
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => out.push(byte),
            None => {
                all_spelled = false;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    all_spelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_exactly_one_letter() {
        let mut spelled = [0; 256];
        for code in 0..0x200 {
            if let Some(byte) = char::from_u32(code).and_then(byte_of) {
                spelled[usize::from(byte)] += 1;
            }
        }
        assert_eq!(spelled, [1; 256]);
    }

    #[test]
    fn known_letters() {
        let mut out = Vec::new();
        assert!(decode_into("ĠhelloĊčĉ".as_bytes(), &mut out));
        assert_eq!(out, b" hello\n\r\t");
        assert!(decode_into("Ã¼".as_bytes(), &mut out));
        assert_eq!(out, "ü".as_bytes());
        assert!(!decode_into("<｜x｜>".as_bytes(), &mut out));
        assert_eq!(out, "<｜x｜>".as_bytes());
        assert!(!decode_into(&[b'a', 0xff], &mut out));
        assert_eq!(out, [b'a', 0xff]);
    }
}
