//! LLDP: which neighbour is on which port.
//!
//! Read first: IEEE 802.1AB §8 (TLVs), §9.1 (which are mandatory, and in which order).

use crate::malformed::require;
use crate::{MacAddr, Malformed, ethernet};
use core::fmt;

/// Where announcements go: no bridge forwards this address.
pub const NEAREST_BRIDGE: MacAddr = MacAddr([0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e]);

/// Longest frame in bytes, without a tag, that [`Announcement::emit_frame`] writes.
pub const FRAME_MAX: usize = ethernet::HEADER_LEN + 9 + 3 + TEXT_MAX + 4 + 2 + TEXT_MAX + 2;

/// Longest text in bytes of a name.
const TEXT_MAX: usize = 255;

/// Types of TLVs.
mod tlv {
    pub(super) const END: u8 = 0;
    pub(super) const CHASSIS: u8 = 1;
    pub(super) const PORT: u8 = 2;
    pub(super) const TTL: u8 = 3;
    pub(super) const SYSTEM_NAME: u8 = 5;
}

/// Subtypes of chassis and port identifiers that are Ethernet addresses.
const CHASSIS_IS_MAC: u8 = 4;
const PORT_IS_MAC: u8 = 3;
const PORT_IS_NAME: u8 = 5;

/// What a neighbour announces: the payload of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour<'a> {
    /// Its chassis.
    pub chassis: Id<'a>,
    /// Its port.
    pub port: Id<'a>,
    /// Seconds for which this holds; 0: it goes.
    pub ttl_s: u16,
    /// Its name.
    pub system_name: Option<&'a [u8]>,
}

/// What a chassis or port is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Id<'a> {
    /// By its Ethernet address.
    Mac(MacAddr),
    /// By anything else: usually text.
    Text(&'a [u8]),
}

impl<'a> Neighbour<'a> {
    /// Reads an announcement. Chassis, port and time to live have to come first and in this order; a
    /// TLV that is cut off makes it malformed, a missing end does not.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut tlvs = Tlvs { rest: payload };
        let mut mandatory = |kind| {
            let (found, value) = tlvs.next()?.ok_or(Malformed)?;
            require(found == kind)?;
            Ok(value)
        };
        let chassis = Id::parse(mandatory(tlv::CHASSIS)?, CHASSIS_IS_MAC)?;
        let port = Id::parse(mandatory(tlv::PORT)?, PORT_IS_MAC)?;
        let [high, low, ..] = *mandatory(tlv::TTL)? else { return Err(Malformed) };
        let mut neighbour = Self { chassis, port, ttl_s: u16::from_be_bytes([high, low]), system_name: None };
        while let Some((kind, value)) = tlvs.next()? {
            if kind == tlv::SYSTEM_NAME && neighbour.system_name.is_none() {
                neighbour.system_name = Some(value);
            }
        }
        Ok(neighbour)
    }
}

/// The neighbour in words, for operators: printable, at most some 520 characters.
impl fmt::Display for Neighbour<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.system_name {
            Some(name) => Id::Text(name).fmt(f)?,
            None => self.chassis.fmt(f)?,
        }
        write!(f, " {}", self.port)
    }
}

impl<'a> Id<'a> {
    fn parse(value: &'a [u8], mac: u8) -> Result<Self, Malformed> {
        match value {
            [] | [_] => Err(Malformed),
            [subtype, a, b, c, d, e, f] if *subtype == mac => {
                Ok(Self::Mac(MacAddr([*a, *b, *c, *d, *e, *f])))
            }
            [_, text @ ..] => Ok(Self::Text(text)),
        }
    }
}

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            // What is not printable could steer a terminal (C9).
            Self::Text(text) => text.iter().try_for_each(|byte| match byte {
                b' '..=b'~' => write!(f, "{}", char::from(*byte)),
                _ => f.write_str("?"),
            }),
        }
    }
}

/// Type and value, one after the other, until the end or the end TLV.
struct Tlvs<'a> {
    rest: &'a [u8],
}

impl<'a> Tlvs<'a> {
    fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        let [high, low, rest @ ..] = self.rest else { return Ok(None) };
        let kind = high >> 1;
        if kind == tlv::END {
            self.rest = &[];
            return Ok(None);
        }
        let len = usize::from(high & 1) << 8 | usize::from(*low);
        let (value, rest) = rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(Some((kind, value)))
    }
}

/// What we announce on a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Announcement<'a> {
    /// Our chassis.
    pub chassis: MacAddr,
    /// The port's name; its first 255 bytes are sent.
    pub port: &'a str,
    /// Our name; its first 255 bytes are sent.
    pub system_name: &'a str,
    /// Seconds for which this holds.
    pub ttl_s: u16,
}

impl Announcement<'_> {
    fn payload_len(&self) -> usize {
        9 + 3 + clip(self.port).len() + 4 + 2 + clip(self.system_name).len() + 2
    }

    /// Length of the frame in bytes, at most [`FRAME_MAX`].
    pub fn frame_len(&self) -> usize {
        ethernet::Repr::default().frame_len(self.payload_len())
    }

    /// Writes a whole frame from `src` to [`NEAREST_BRIDGE`], never tagged.
    ///
    /// # Panics
    ///
    /// When `frame` is shorter than [`Self::frame_len`].
    pub fn emit_frame(&self, src: MacAddr, frame: &mut [u8]) {
        let link = ethernet::Repr { src, dst: NEAREST_BRIDGE, tci: None };
        let payload = link.emit(ethernet::EtherType::LLDP, frame);
        payload.fill(0); // The end TLV is two zeros, and so is all that follows it.
        let mut at = 0;
        let mut put = |kind: u8, parts: [&[u8]; 2]| {
            let len = parts[0].len() + parts[1].len();
            payload[at] = kind << 1 | (len >> 8) as u8;
            payload[at + 1] = len as u8;
            at += 2;
            for part in parts {
                payload[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
        };
        put(tlv::CHASSIS, [&[CHASSIS_IS_MAC], &self.chassis.0]);
        put(tlv::PORT, [&[PORT_IS_NAME], clip(self.port)]);
        put(tlv::TTL, [&self.ttl_s.to_be_bytes(), &[]]);
        put(tlv::SYSTEM_NAME, [clip(self.system_name), &[]]);
    }
}

fn clip(text: &str) -> &[u8] {
    &text.as_bytes()[..text.len().min(TEXT_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::hex;

    const ANNOUNCEMENT: &str = "0207 04 0018ba98688f 0407 07 4661302f3133 0602 0078
        0a0c 53312e636973636f2e636f6d 0e04 00140004 fe06 0080c2010001 0000";

    #[test]
    fn real_bytes() {
        let bytes = hex(ANNOUNCEMENT);
        let neighbour = Neighbour::parse(&bytes).expect("whole");
        assert_eq!(neighbour.chassis, Id::Mac(MacAddr([0, 0x18, 0xba, 0x98, 0x68, 0x8f])));
        assert_eq!((neighbour.port, neighbour.ttl_s), (Id::Text(b"Fa0/13"), 120));
        assert_eq!(neighbour.system_name, Some(&b"S1.cisco.com"[..]));
        assert_eq!(neighbour.to_string(), "S1.cisco.com Fa0/13");
    }

    #[test]
    fn wrong_length() {
        let bytes = hex(ANNOUNCEMENT);
        for len in 0..21 {
            assert_eq!(Neighbour::parse(&bytes[..len]), Err(Malformed), "{len}");
        }
        assert_eq!(Neighbour::parse(&bytes[..30]), Err(Malformed), "a name that is cut off");
        assert!(Neighbour::parse(&bytes[..bytes.len() - 2]).is_ok(), "without its end");
    }

    #[test]
    fn mandatory_parts_in_their_order() {
        for text in [
            "0407 07 4661302f3133 0207 04 0018ba98688f 0602 0078",
            "0207 04 0018ba98688f 0602 0078 0407 07 4661302f3133",
            "0201 04 0407 07 4661302f3133 0602 0078",
            "0200 0407 07 4661302f3133 0602 0078",
            "0207 04 0018ba98688f 0407 07 4661302f3133 0601 78",
            "",
        ] {
            assert_eq!(Neighbour::parse(&hex(text)), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn names_are_printable() {
        // C9
        let bytes = hex("0207 04 0018ba98688f 0403 07 1b5b 0602 0078 0a03 41 0a 42 0000");
        assert_eq!(Neighbour::parse(&bytes).expect("whole").to_string(), "A?B ?[");
        let bytes = hex("0207 04 0018ba98688f 0407 03 0018ba986890 0602 0078");
        let unnamed = Neighbour::parse(&bytes).expect("whole");
        assert_eq!(unnamed.to_string(), "00:18:ba:98:68:8f 00:18:ba:98:68:90");
    }

    #[test]
    fn announcements_round_trip() {
        let long = "x".repeat(400);
        for (port, name) in [("wan0", "flowswitch"), ("", ""), (&long[..], &long[..])] {
            let chassis = MacAddr([2, 0, 0, 0, 0, 1]);
            let announcement = Announcement { chassis, port, system_name: name, ttl_s: 120 };
            let mut frame = vec![0xff; announcement.frame_len()];
            assert!((60..=FRAME_MAX).contains(&frame.len()));
            announcement.emit_frame(MacAddr([2; 6]), &mut frame);
            let view = ethernet::Frame::new_checked(&frame).expect("whole");
            assert_eq!((view.dst_addr(), view.ethertype()), (NEAREST_BRIDGE, ethernet::EtherType::LLDP));
            match Neighbour::parse(view.payload()) {
                Ok(seen) => {
                    assert_eq!((seen.chassis, seen.ttl_s), (Id::Mac(chassis), 120));
                    assert_eq!(seen.port, Id::Text(clip(port)));
                    assert_eq!(seen.system_name, Some(clip(name)));
                }
                Err(Malformed) => assert!(port.is_empty(), "a port without a name is nothing"),
            }
        }
    }
}
