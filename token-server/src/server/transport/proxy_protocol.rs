//! The PROXY protocol, versions 1 and 2: a proxy first names the peer whose connection it forwards.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>. A listener either requires the header or
//! does not read it. If the header were optional, a peer could choose its own address.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The first bytes of version 2. Every version 1 header is at least as long.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1 in bytes, its end included.
const LINE_BYTES_MAX: usize = 107;
/// The longest part of version 2 after its first 16 bytes: addresses, and extensions that are far shorter in
/// practice.
const BLOCK_BYTES_MAX: usize = 4096;

/// Reads exactly the header. Returns `None` if the connection is the proxy's own or has no IP address.
///
/// # Errors
///
/// If the connection does not begin with a valid header.
pub(crate) async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut start = [0; SIGNATURE.len()];
    io.read_exact(&mut start).await?;
    if start == *SIGNATURE {
        version_2(io).await
    } else if start.starts_with(b"PROXY ") {
        version_1(io, &start).await
    } else {
        Err(invalid("there is no PROXY header"))
    }
}

async fn version_1(io: &mut (impl AsyncRead + Unpin), start: &[u8]) -> io::Result<Option<IpAddr>> {
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_BYTES_MAX {
            return Err(invalid("the PROXY line is too long"));
        }
        // Byte by byte: the bytes after the header belong to the caller.
        line.push(io.read_u8().await?);
    }
    let line = line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok());
    let line = line.ok_or(invalid("the PROXY line is not text"))?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let (Some(source), Some(destination), Some(from), Some(to), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(invalid("the PROXY line does not have six words"));
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    match (address(source), address(destination)) {
        (Some(source), Some(_)) if is_port(from) && is_port(to) => Ok(Some(source)),
        _ => Err(invalid("the PROXY line has no addresses")),
    }
}

async fn version_2(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let (command, family) = (io.read_u8().await?, io.read_u8().await?);
    let length = usize::from(io.read_u16().await?);
    if length > BLOCK_BYTES_MAX {
        return Err(invalid("the PROXY header is too long"));
    }
    let mut block = vec![0; length];
    io.read_exact(&mut block).await?;
    match (command, family) {
        // The proxy's own connection, such as a probe.
        (0x20, _) => Ok(None),
        (0x21, 0x11) => match (block.first_chunk::<4>(), length >= 12) {
            (Some(source), true) => Ok(Some(Ipv4Addr::from(*source).into())),
            _ => Err(invalid("the PROXY header is too short")),
        },
        (0x21, 0x21) => match (block.first_chunk::<16>(), length >= 36) {
            (Some(source), true) => Ok(Some(Ipv6Addr::from(*source).into())),
            _ => Err(invalid("the PROXY header is too short")),
        },
        // An unspecified address, or a Unix socket on the proxy's machine.
        (0x21, 0x00 | 0x31) => Ok(None),
        _ => Err(invalid("the PROXY header is of another version, command or protocol")),
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the address and the bytes left for the connection.
    async fn read_all(bytes: &[u8]) -> io::Result<(Option<IpAddr>, Vec<u8>)> {
        let mut rest = bytes;
        let address = read(&mut rest).await?;
        Ok((address, rest.to_vec()))
    }

    fn version_2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0x10, 0, 0x20, 0];

    #[tokio::test]
    async fn reads_the_address_and_not_a_byte_more() {
        let v6 = [&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets()[..], &[0; 20]].concat();
        for (header, address) in [
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 5000 443\r\n".to_vec(), Some("192.0.2.1")),
            (b"PROXY TCP6 2001:db8::7 ::1 5000 443\r\n".to_vec(), Some("2001:db8::7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (version_2(0x21, 0x11, &V4), Some("192.0.2.1")),
            (version_2(0x21, 0x11, &[&V4[..], b"\x03\0\x04abcd"].concat()), Some("192.0.2.1")),
            (version_2(0x21, 0x21, &v6), Some("2001:db8::7")),
            (version_2(0x20, 0x00, b""), None),
            (version_2(0x20, 0x11, &V4), None),
            (version_2(0x21, 0x00, b""), None),
        ] {
            let (read, rest) = read_all(&[&header[..], b"GET /"].concat()).await.unwrap();
            assert_eq!(read, address.map(|address| address.parse().unwrap()), "{header:?}");
            assert_eq!(rest, b"GET /", "{header:?}");
        }
    }

    #[tokio::test]
    async fn rejects_what_is_no_header() {
        for bytes in [
            b"".to_vec(),
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            b"proxy TCP4 192.0.2.1 198.51.100.1 5000 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.1 5000\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.1 5000 443 9\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.1 5000 65536\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 ::1 5000 443\r\n".to_vec(),
            b"PROXY TCP6 192.0.2.1 198.51.100.1 5000 443\r\n".to_vec(),
            b"PROXY TCP4  192.0.2.1 198.51.100.1 5000 443\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.1 198.51.100.1 5000 443\r\n".to_vec(),
            [b"PROXY UNKNOWN ", &b"x".repeat(100)[..], b"\r\n"].concat(),
            b"PROXY TCP4 192.0.2.1 198.51.100.1 5000 443\n".to_vec(),
            version_2(0x11, 0x11, &V4),
            version_2(0x22, 0x11, &V4),
            version_2(0x21, 0x12, &V4),
            version_2(0x21, 0x11, &V4[..11]),
            version_2(0x21, 0x21, &[0; 35]),
            version_2(0x21, 0x11, &[0; BLOCK_BYTES_MAX + 1]),
            version_2(0x21, 0x11, &V4)[..20].to_vec(),
        ] {
            assert!(read_all(&bytes).await.is_err(), "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
