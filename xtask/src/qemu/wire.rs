//! A wire between a device and its server. It counts what passes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::Result;

/// It forwards TCP connections until it is dropped.
#[derive(Debug)]
pub struct Wire {
    /// The device's end.
    pub address: SocketAddr,
    bytes: Arc<AtomicU64>,
    cut: Arc<AtomicBool>,
}

impl Wire {
    /// A wire to this server.
    pub fn to(server: SocketAddr) -> Result<Self> {
        let about = |error| format!("a port on this machine: {error}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(about)?;
        let wire = Self {
            address: listener.local_addr().map_err(about)?,
            bytes: Arc::default(),
            cut: Arc::default(),
        };
        let (bytes, cut) = (Arc::clone(&wire.bytes), Arc::clone(&wire.cut));
        thread::spawn(move || {
            for device in listener.incoming().map_while(std::result::Result::ok) {
                if cut.load(Ordering::Relaxed) {
                    return;
                }
                // If there is no server, the device sees its connection closed.
                let _ = connect(device, server, &bytes);
            }
        });
        Ok(wire)
    }

    /// How many bytes have passed, in both directions, TLS and all.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut.store(true, Ordering::Relaxed);
        // It waits for the next connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn connect(device: TcpStream, server: SocketAddr, bytes: &Arc<AtomicU64>) -> std::io::Result<()> {
    let server = TcpStream::connect(server)?;
    for (from, to) in [(device.try_clone()?, server.try_clone()?), (server, device)] {
        let bytes = Arc::clone(bytes);
        thread::spawn(move || pass(from, to, &bytes));
    }
    Ok(())
}

/// Forwards what comes, until either end is closed.
fn pass(mut from: TcpStream, mut to: TcpStream, bytes: &AtomicU64) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        bytes.fetch_add(n as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_counts_both_directions() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let wire = Wire::to(listener.local_addr().unwrap()).unwrap();
        let server = thread::spawn(move || {
            let (mut device, _) = listener.accept().unwrap();
            let mut question = [0; 4];
            device.read_exact(&mut question).unwrap();
            device.write_all(&[7; 10_000]).unwrap();
            question
        });
        let mut device = TcpStream::connect(wire.address).unwrap();
        device.write_all(b"what").unwrap();
        let mut answer = Vec::new();
        device.read_to_end(&mut answer).unwrap();
        assert_eq!(server.join().unwrap(), *b"what");
        assert_eq!((answer.len(), wire.bytes()), (10_000, 10_004));
    }
}
