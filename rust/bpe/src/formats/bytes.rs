//! GPT-2's way to write bytes as visible characters: printable Latin-1 stands for itself, the other 68 bytes are
//! U+0100 and on.

use std::sync::LazyLock;

static CHARACTERS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut other = 0x100..;
    std::array::from_fn(|byte| match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte as u8),
        _ => other.next().and_then(char::from_u32).unwrap_or('\0'),
    })
});

/// Bytes as visible characters.
pub fn to_text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| CHARACTERS[usize::from(byte)]).collect()
}

/// Bytes of visible characters, `None` if one stands for no byte.
pub fn from_text(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| CHARACTERS.iter().position(|&other| other == c).map(|byte| byte as u8)).collect()
}
