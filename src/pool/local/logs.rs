//! The last lines of a log, and what is written to it after them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// How often a log is looked at for more.
const LOOK: Duration = Duration::from_millis(100);
const BLOCK: u64 = 64 << 10;

/// The last lines of a text, read from its end: a log may be larger than memory.
pub fn tail(file: &mut File, lines: usize) -> io::Result<Vec<u8>> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut from = end;
    let mut text: Vec<u8> = Vec::new();
    // One more line break than lines: the one before the first of them.
    while from > 0 && text.iter().filter(|byte| **byte == b'\n').count() <= lines {
        let size = from.min(BLOCK);
        from -= size;
        file.seek(SeekFrom::Start(from))?;
        let mut block = vec![0; size as usize];
        file.read_exact(&mut block)?;
        block.extend_from_slice(&text);
        text = block;
    }
    file.seek(SeekFrom::Start(end))?;
    let whole = text.strip_suffix(b"\n").unwrap_or(&text);
    let breaks = whole.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let begin = match lines {
        0 => text.len(),
        lines => breaks.map(|(at, _)| at + 1).nth(lines - 1).unwrap_or(0),
    };
    Ok(text.split_off(begin))
}

/// The last lines of a file as text, for an error to show.
pub fn tail_text(path: &Path, lines: usize) -> String {
    let text = File::open(path).and_then(|mut file| tail(&mut file, lines)).unwrap_or_default();
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

/// Writes the last lines, then everything that comes, until `is_over` says that nothing more will. A log that is begun
/// anew, because the worker was started again, is followed into its new file.
pub fn follow(path: &Path, lines: usize, out: &mut dyn Write, is_over: &dyn Fn() -> bool) -> io::Result<()> {
    let mut file = File::open(path)?;
    out.write_all(&tail(&mut file, lines)?)?;
    out.flush()?;
    loop {
        // Asked first: what was written before the end is then still read.
        let over = is_over();
        if io::copy(&mut file, out)? > 0 {
            out.flush()?;
        }
        let begun_anew =
            std::fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|own| own.ino() != now.ino()));
        if begun_anew {
            file = File::open(path)?;
        } else if over {
            return Ok(());
        } else {
            std::thread::sleep(LOOK);
        }
    }
}
