//! A network in memory, with a scripted HTTPS server at its other end and lines that fail as lines do.
//!
//! Run it in a test of tokio's `start_paused` clock: time then passes only while everything waits, so a deadline of half
//! an hour costs nothing, and waits can be held against it to the second.
//!
//! ```ignore
//! let network = Network::new(releasing("1.1.0"));
//! let outcome = network.install(&mut flash, running, "1.0.0", timeouts, &mut ()).await;
//! ```
//!
//! Every host name leads to the one server, whose certificate is for `localhost` and `cdn.example`.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use edge_nal::{AddrType, Close, Dns, Readable, TcpConnect, TcpShutdown, TcpSplit};
use embedded_io_async::{ErrorType, Read, Write};
use embedded_storage_async::nor_flash::NorFlash;
use s3ota::tls::Roots;
use s3ota::{Chip, Config, Device, Error, Hooks, Outcome, Timeouts, Updater, Workspace};
use s3ota_sim::host::{HostClock, OsRng};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep};

use crate::Request;
use crate::server::{Identity, Script};

/// The port the server listens on.
pub const PORT: u16 = 443;

/// Where devices look for the manifest.
pub const MANIFEST_URL: &str = "https://localhost/manifest.json";

/// Bytes a connection takes in each direction before its writer has to wait, as the buffers of TCP do.
const IN_FLIGHT: usize = 16 * 1024;

/// Keys are made once in a process: what a test pays for is the handshake alone.
pub fn identity() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity::new(|_| {}));
    &IDENTITY
}

/// What is wrong with a connection, below TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The name has no address.
    NoAddress,
    /// The name server never answers.
    ResolvesForever,
    /// Nobody listens.
    Refused,
    /// The connection is never made.
    ConnectsForever,
    /// The connection ends once so many bytes have passed in this direction.
    Cut(Way, usize, Ending),
    /// So many bytes pass in each direction, and then this time.
    Pace(usize, Duration),
    /// What the device writes is never taken.
    NeverReads,
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToDevice,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// TCP's orderly end.
    Fin,
    /// TCP's other end.
    Reset,
    /// Nothing arrives any more, in either direction.
    Silence,
}

/// What passed over one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// When it was asked for.
    pub opened: Instant,
    /// Bytes that reached the server.
    pub to_server: usize,
    /// Bytes that reached the device.
    pub to_device: usize,
}

/// What is at the other end of a connection, given its number.
type Peer = dyn Fn(DuplexStream, usize) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// A network of one server.
pub struct Network {
    peer: Box<Peer>,
    requests: Arc<Mutex<Vec<Request>>>,
    faults: Box<dyn Fn(usize) -> Option<Fault>>,
    traffic: Rc<RefCell<Vec<Traffic>>>,
}

impl Network {
    /// A network without faults, with an HTTPS server.
    pub fn new(script: impl Script) -> Self {
        let script = Arc::new(script);
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let log = requests.clone();
        let network = Self::of_peers(move |socket, connection| {
            let (script, log) = (script.clone(), log.clone());
            async move {
                let answer = move |request: Request| {
                    log.lock().unwrap().push(request.clone());
                    script(&request, PORT)
                };
                identity().serve(socket, connection, answer).await;
            }
        });
        Self {
            requests,
            ..network
        }
    }

    /// A network whose other end may be anything.
    pub fn of_peers<P>(peer: impl Fn(DuplexStream, usize) -> P + 'static) -> Self
    where
        P: Future<Output = ()> + Send + 'static,
    {
        Self {
            peer: Box::new(move |socket, connection| Box::pin(peer(socket, connection))),
            requests: Arc::default(),
            faults: Box::new(|_| None),
            traffic: Rc::default(),
        }
    }

    /// The same network with this fault on the connection of this number, if any. The first is 0.
    pub fn with_faults(self, faults: impl Fn(usize) -> Option<Fault> + 'static) -> Self {
        Self {
            faults: Box::new(faults),
            ..self
        }
    }

    /// The requests that reached the server.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// What passed over each connection.
    pub fn traffic(&self) -> Vec<Traffic> {
        self.traffic.borrow().clone()
    }

    /// What passed over each connection since this was last asked. The next one is 0 again.
    pub fn take_traffic(&self) -> Vec<Traffic> {
        self.traffic.take()
    }

    /// The parts of a device on this network, whose firmware runs from the partition at `running`.
    pub fn device<F>(&self, flash: F, running: u32) -> Device<F, &Self, HostClock, OsRng> {
        Device {
            flash,
            running,
            network: self,
            clock: HostClock::new(),
            rng: OsRng,
        }
    }

    /// The configuration of a firmware that trusts the server.
    pub fn config<'a>(&self, version: &'a str, timeouts: Timeouts) -> Config<'a> {
        let mut roots = Roots::empty();
        roots.add_der(&identity().ca).unwrap();
        Config {
            roots,
            timeouts,
            ..Config::new(MANIFEST_URL, version, Chip::Esp32C3, "device-1")
        }
    }

    /// Updates the flash of a device whose firmware `version` runs from the partition at `running`.
    pub async fn install<F: NorFlash>(
        &self,
        flash: F,
        running: u32,
        version: &str,
        timeouts: Timeouts,
        hooks: &mut dyn Hooks,
    ) -> Result<Outcome, Error> {
        let mut workspace = Box::new(Workspace::new());
        self.updater(flash, running, version, timeouts, &mut workspace)
            .install(hooks)
            .await
    }

    /// The updater of such a device.
    pub fn updater<'a, F: NorFlash>(
        &'a self,
        flash: F,
        running: u32,
        version: &'a str,
        timeouts: Timeouts,
        workspace: &'a mut Workspace,
    ) -> Updater<'a, F, &'a Self, HostClock, OsRng> {
        let config = self.config(version, timeouts);
        Updater::new(config, self.device(flash, running), workspace)
    }
}

impl Dns for Network {
    type Error = io::Error;

    async fn get_host_by_name(&self, _: &str, _: AddrType) -> io::Result<IpAddr> {
        // A lookup belongs to the connection that follows it.
        let next = self.traffic.borrow().len();
        match (self.faults)(next) {
            Some(Fault::NoAddress) => Err(ErrorKind::NotFound.into()),
            Some(Fault::ResolvesForever) => pending().await,
            _ => Ok(Ipv4Addr::LOCALHOST.into()),
        }
    }

    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::Unsupported.into())
    }
}

impl TcpConnect for Network {
    type Error = io::Error;
    type Socket<'a> = Socket;

    async fn connect(&self, remote: SocketAddr) -> io::Result<Socket> {
        let connection = self.traffic.borrow().len();
        let fault = (self.faults)(connection);
        self.traffic.borrow_mut().push(Traffic {
            opened: Instant::now(),
            to_server: 0,
            to_device: 0,
        });
        match fault {
            Some(Fault::ConnectsForever) => pending().await,
            Some(Fault::Refused) => return Err(ErrorKind::ConnectionRefused.into()),
            _ if remote.port() != PORT => return Err(ErrorKind::ConnectionRefused.into()),
            _ => {}
        }
        let (device, server) = tokio::io::duplex(IN_FLIGHT);
        tokio::spawn((self.peer)(server, connection));
        let line = Rc::new(Line {
            connection,
            fault,
            ended: Cell::new(None),
            traffic: self.traffic.clone(),
        });
        let (reader, writer) = tokio::io::split(device);
        Ok(Socket {
            receiver: Receiver {
                stream: BufReader::new(reader),
                line: line.clone(),
            },
            sender: Sender {
                stream: writer,
                line,
            },
        })
    }
}

/// What both directions of a connection share.
struct Line {
    connection: usize,
    fault: Option<Fault>,
    ended: Cell<Option<Ending>>,
    traffic: Rc<RefCell<Vec<Traffic>>>,
}

impl Line {
    /// How many of `wanted` bytes may pass in this direction now, or how the connection has ended.
    fn allows(&self, way: Way, wanted: usize) -> Result<usize, Ending> {
        if let Some(ending) = self.ended.get() {
            return Err(ending);
        }
        match self.fault {
            Some(Fault::Cut(cut, after, ending)) if cut == way => {
                let left = after - self.passed(way);
                if left == 0 {
                    self.ended.set(Some(ending));
                    return Err(ending);
                }
                Ok(wanted.min(left))
            }
            Some(Fault::Pace(bytes, _)) => Ok(wanted.min(bytes)),
            _ => Ok(wanted),
        }
    }

    /// Counts bytes that have passed, and takes the time they take.
    async fn pass(&self, way: Way, bytes: usize) {
        if let Some(traffic) = self.traffic.borrow_mut().get_mut(self.connection) {
            match way {
                Way::ToServer => traffic.to_server += bytes,
                Way::ToDevice => traffic.to_device += bytes,
            }
        }
        if let Some(Fault::Pace(_, time)) = self.fault {
            sleep(time).await;
        }
    }

    fn passed(&self, way: Way) -> usize {
        let traffic = self.traffic.borrow()[self.connection];
        match way {
            Way::ToServer => traffic.to_server,
            Way::ToDevice => traffic.to_device,
        }
    }
}

/// The device's end of a connection.
pub struct Socket {
    receiver: Receiver,
    sender: Sender,
}

/// The half of a [`Socket`] that reads.
pub struct Receiver {
    stream: BufReader<ReadHalf<DuplexStream>>,
    line: Rc<Line>,
}

/// The half of a [`Socket`] that writes.
pub struct Sender {
    stream: WriteHalf<DuplexStream>,
    line: Rc<Line>,
}

impl ErrorType for Receiver {
    type Error = io::Error;
}

impl ErrorType for Sender {
    type Error = io::Error;
}

impl ErrorType for Socket {
    type Error = io::Error;
}

impl Read for Receiver {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = match self.line.allows(Way::ToDevice, buffer.len()) {
            Ok(most) => most,
            Err(Ending::Fin) => return Ok(0),
            Err(Ending::Reset) => return Err(ErrorKind::ConnectionReset.into()),
            Err(Ending::Silence) => pending().await,
        };
        let n = self.stream.fill_buf().await?.len().min(most);
        buffer[..n].copy_from_slice(&self.stream.buffer()[..n]);
        self.stream.consume(n);
        self.line.pass(Way::ToDevice, n).await;
        Ok(n)
    }
}

impl Readable for Receiver {
    async fn readable(&mut self) -> io::Result<()> {
        match self.line.ended.get() {
            Some(Ending::Silence) => pending().await,
            Some(_) => Ok(()),
            None => self.stream.fill_buf().await.map(drop),
        }
    }
}

impl Write for Sender {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.line.fault == Some(Fault::NeverReads) {
            return pending().await;
        }
        let most = match self.line.allows(Way::ToServer, bytes.len()) {
            Ok(most) => most,
            Err(Ending::Reset) => return Err(ErrorKind::ConnectionReset.into()),
            // TCP takes what it is given, long before it knows whether that arrives.
            Err(Ending::Fin | Ending::Silence) => return Ok(bytes.len()),
        };
        let n = self.stream.write(&bytes[..most]).await?;
        self.line.pass(Way::ToServer, n).await;
        Ok(n)
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().await
    }
}

impl Read for Socket {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receiver.read(buffer).await
    }
}

impl Readable for Socket {
    async fn readable(&mut self) -> io::Result<()> {
        self.receiver.readable().await
    }
}

impl Write for Socket {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sender.write(bytes).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.sender.flush().await
    }
}

impl TcpSplit for Socket {
    type Read<'a> = &'a mut Receiver;
    type Write<'a> = &'a mut Sender;

    fn split(&mut self) -> (&mut Receiver, &mut Sender) {
        (&mut self.receiver, &mut self.sender)
    }
}

impl TcpShutdown for Socket {
    async fn close(&mut self, what: Close) -> io::Result<()> {
        if what != Close::Read {
            self.sender.stream.shutdown().await?;
        }
        Ok(())
    }

    async fn abort(&mut self) -> io::Result<()> {
        self.sender.line.ended.set(Some(Ending::Reset));
        Ok(())
    }
}
