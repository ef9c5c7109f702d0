//! Captures that others made: all frames of all files that can be found.
//!
//! They lie outside the project, in `$FLOWSWITCH_CAPTURES` or beside the workspace in
//! `../shared/captures`.

use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Frames of the captures.
#[derive(Debug, Default)]
pub struct Captures {
    /// Ethernet frames, in the order of files and of frames in them.
    pub frames: Vec<Vec<u8>>,
    /// Files that were read.
    pub files: usize,
    /// Files that are of another link layer.
    pub other_links: usize,
    /// Files that could not be read, or not to their end; what was read of them is there.
    pub unreadable: usize,
}

/// Where the captures are, if they are anywhere.
pub fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("FLOWSWITCH_CAPTURES").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures");
    named.into_iter().chain([beside]).find(|folder| folder.is_dir())
}

/// Reads every `.pcap` and `.pcapng` below `folder`, in the order of their names.
pub fn load(folder: &Path) -> Captures {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.sort();
    let mut captures = Captures::default();
    for file in files {
        captures.files += 1;
        let ng = file.extension().is_some_and(|ext| ext == "pcapng");
        let read = if ng { read_ng(&file, &mut captures) } else { read_classic(&file, &mut captures) };
        captures.unreadable += usize::from(read.is_none());
    }
    captures
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ext| ext == "pcap" || ext == "pcapng") {
            files.push(path);
        }
    }
}

fn read_classic(file: &Path, captures: &mut Captures) -> Option<()> {
    let mut reader = PcapReader::new(BufReader::new(File::open(file).ok()?)).ok()?;
    if reader.header().datalink != DataLink::ETHERNET {
        captures.other_links += 1;
        return Some(());
    }
    while let Some(packet) = reader.next_packet() {
        captures.frames.push(packet.ok()?.data.into_owned());
    }
    Some(())
}

fn read_ng(file: &Path, captures: &mut Captures) -> Option<()> {
    let mut reader = PcapNgReader::new(BufReader::new(File::open(file).ok()?)).ok()?;
    let mut other = false;
    loop {
        let frame = match reader.next_block() {
            None => break,
            Some(Err(_)) => return None,
            Some(Ok(Block::EnhancedPacket(packet))) => (packet.interface_id, packet.data.into_owned()),
            Some(Ok(Block::SimplePacket(packet))) => (0, packet.data.into_owned()),
            Some(Ok(_)) => continue,
        };
        let (interface, data) = frame;
        let linktype = reader.interfaces().get(interface as usize).map(|interface| interface.linktype);
        if linktype == Some(DataLink::ETHERNET) {
            captures.frames.push(data);
        } else {
            other = true;
        }
    }
    captures.other_links += usize::from(other);
    Some(())
}
