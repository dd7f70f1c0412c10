//! RFC 7541: what a decoder must refuse.

use super::{Case, Expected, case, wire::*};

const COMPRESSED: Expected = Expected::ConnectionError(&[COMPRESSION]);

/// A request whose head ends with these bytes.
fn ending(id: &'static str, what: &'static str, end: &[u8]) -> Case {
    let block = [&request("GET", &[]), end].concat();
    let case = case(id, what, COMPRESSED, &[frame(HEADERS, WHOLE, 1, &block)]);
    case.code(PROTOCOL)
}

pub(super) fn cases() -> Vec<Case> {
    let start = |size: &[u8]| {
        let block = [size, &request("GET", &[])].concat();
        [frame(HEADERS, WHOLE, 1, &block)]
    };
    vec![
        ending("H2.3.3/1", "an index outside of the tables", &[0xc6]),
        ending(
            "H2.3.3/2",
            "a literal whose name has an index outside of the tables",
            &[0x7f, 0x07, 1, b'x'],
        ),
        ending(
            "H4.2",
            "a change of the table's size at the end of a head",
            &[0x21],
        ),
        ending(
            "H5.1",
            "an integer that does not end",
            &[
                0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
            ],
        ),
        ending(
            "H5.2/1",
            "Huffman code with more than seven bits of padding",
            &[
                0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x84, 0x49, 0x50, 0x9f, 0xff,
            ],
        ),
        ending(
            "H5.2/2",
            "Huffman code with padding of zeros",
            &[
                0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x83, 0x49, 0x50, 0x90,
            ],
        ),
        ending(
            "H5.2/3",
            "Huffman code with the symbol EOS",
            &[
                0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x87, 0x49, 0x51, 0xff, 0xff, 0xff, 0xfa,
                0x7f,
            ],
        ),
        ending("H6.1", "the index 0", &[0x80]),
        case(
            "H6.3/1",
            "a table above SETTINGS_HEADER_TABLE_SIZE",
            COMPRESSED,
            &start(&[0x3f, 0xe2, 0x1f]),
        )
        .code(PROTOCOL),
        case(
            "H6.3/2",
            "a table of the size that the server announced",
            Expected::Exactly(Reaction::Status(200)),
            &start(&[0x3f, 0xe1, 0x1f]),
        )
        .with(&[(HEADER_TABLE_SIZE, 0)]),
    ]
}
