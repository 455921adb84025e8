//! GPT-2's way to write bytes as visible characters: printable Latin-1 stands for itself, the other 68 bytes are
//! U+0100 and on.

const CHARACTERS: [char; 256] = characters();
const BYTES: [Option<u8>; 256 + 68] = bytes();

const fn characters() -> [char; 256] {
    let mut characters = ['\0'; 256];
    let (mut byte, mut other) = (0, 0x100);
    while byte < 256 {
        characters[byte] = match byte {
            0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => byte as u8 as char,
            _ => {
                other += 1;
                match char::from_u32(other - 1) {
                    Some(character) => character,
                    None => '\0',
                }
            }
        };
        byte += 1;
    }
    characters
}

const fn bytes() -> [Option<u8>; 256 + 68] {
    let mut bytes = [None; 256 + 68];
    let mut byte = 0;
    while byte < 256 {
        bytes[CHARACTERS[byte] as usize] = Some(byte as u8);
        byte += 1;
    }
    bytes
}

/// Bytes as visible characters.
pub fn to_text(bytes: &[u8]) -> impl Iterator<Item = char> {
    bytes.iter().map(|&byte| CHARACTERS[usize::from(byte)])
}

/// Bytes of visible characters, `None` if one stands for no byte.
pub fn from_text(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        bytes.push((*BYTES.get(character as usize)?)?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_visible_character_of_its_own() {
        let all: Vec<u8> = (0..=255).collect();
        let text: String = to_text(&all).collect();
        assert_eq!(from_text(&text).unwrap(), all);
        assert!(text.chars().all(|c| !c.is_whitespace() && !c.is_control()));
        assert!(to_text("\n é".as_bytes()).eq("ĊĠÃ©".chars()));
        for other in ["a b", "\u{144}", "\u{a0}", "▁"] {
            assert_eq!(from_text(other), None);
        }
    }
}
