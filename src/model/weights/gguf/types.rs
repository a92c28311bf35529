//! ggml's element types by number, and GGUF's file types: known ones with their block sizes, so that a tensor's place can be
//! checked even where its type is not read.

use crate::model::weights::element::Element;

/// One element type.
#[derive(Debug, PartialEq)]
pub struct StoredType {
    number: u32,
    pub name: &'static str,
    /// Elements stored together, and their bytes.
    pub block: u64,
    pub block_bytes: u64,
    /// How it is decoded; `None` for types that are known and not read.
    pub element: Option<Element>,
}

impl StoredType {
    pub fn from_number(number: u32) -> Option<&'static StoredType> {
        TYPES.iter().find(|known| known.number == number)
    }
}

const fn read(number: u32, element: Element) -> StoredType {
    let (block, bytes) = element.block();
    StoredType { number, name: element.name(), block: block as u64, block_bytes: bytes as u64, element: Some(element) }
}

const fn known(number: u32, name: &'static str, block: u64, block_bytes: u64) -> StoredType {
    StoredType { number, name, block, block_bytes, element: None }
}

static TYPES: &[StoredType] = &[
    read(0, Element::F32),
    read(1, Element::F16),
    read(2, Element::Q4_0),
    read(3, Element::Q4_1),
    read(6, Element::Q5_0),
    read(7, Element::Q5_1),
    read(8, Element::Q8_0),
    known(9, "Q8_1", 32, 36),
    read(10, Element::Q2K),
    read(11, Element::Q3K),
    read(12, Element::Q4K),
    read(13, Element::Q5K),
    read(14, Element::Q6K),
    known(15, "Q8_K", 256, 292),
    known(16, "IQ2_XXS", 256, 66),
    known(17, "IQ2_XS", 256, 74),
    known(18, "IQ3_XXS", 256, 98),
    known(19, "IQ1_S", 256, 50),
    known(20, "IQ4_NL", 32, 18),
    known(21, "IQ3_S", 256, 110),
    known(22, "IQ2_S", 256, 82),
    known(23, "IQ4_XS", 256, 136),
    known(24, "I8", 1, 1),
    known(25, "I16", 1, 2),
    known(26, "I32", 1, 4),
    known(27, "I64", 1, 8),
    known(28, "F64", 1, 8),
    known(29, "IQ1_M", 256, 56),
    read(30, Element::Bf16),
    known(34, "TQ1_0", 256, 54),
    known(35, "TQ2_0", 256, 66),
    known(39, "MXFP4", 32, 17),
    known(40, "NVFP4", 64, 36),
    known(41, "Q1_0", 128, 18),
];

/// What `general.file_type` calls the mixture of types in a file.
pub fn file_type_name(number: u64) -> Option<&'static str> {
    const NAMES: &[(u64, &str)] = &[
        (0, "F32"),
        (1, "F16"),
        (2, "Q4_0"),
        (3, "Q4_1"),
        (7, "Q8_0"),
        (8, "Q5_0"),
        (9, "Q5_1"),
        (10, "Q2_K"),
        (11, "Q3_K_S"),
        (12, "Q3_K_M"),
        (13, "Q3_K_L"),
        (14, "Q4_K_S"),
        (15, "Q4_K_M"),
        (16, "Q5_K_S"),
        (17, "Q5_K_M"),
        (18, "Q6_K"),
        (21, "Q2_K_S"),
        (32, "BF16"),
    ];
    NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}
