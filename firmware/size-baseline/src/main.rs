//! Not an example: the firmware that `SIZES.md` compares the examples with.
//!
//! It is `examples/simple` without s3ota: the same Wi-Fi, log and heap, DHCP and DNS, and one TCP connection as an application
//! would make it. A panic says so and restarts, as there; that it counts the boot belongs to s3ota. What `simple` is larger by
//! is what s3ota adds.

#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_net::dns::DnsQueryType;
use embassy_net::tcp::TcpSocket;
use embassy_time::Timer;
use esp_hal::{Config, clock::CpuClock, ram, timer::timg::TimerGroup};

esp_bootloader_esp_idf::esp_app_desc!();

const HOST: &str = "example.com";

#[esp_hal::main]
async fn main(spawner: Spawner) -> ! {
    let chip = esp_hal::init(Config::default().with_cpu_clock(CpuClock::max()));
    esp_println::logger::init_logger(log::LevelFilter::Info);
    esp_alloc::heap_allocator!(#[ram(reclaimed)] size: 64 * 1024);
    esp_alloc::heap_allocator!(size: 36 * 1024);
    esp_rtos::start(TimerGroup::new(chip.TIMG0).timer0, chip.FROM_CPU_INTR0);
    let stack = s3ota_esp::wifi::join(spawner, chip.WIFI, "network", "password").expect("Wi-Fi");
    stack.wait_config_up().await;

    let (mut receive, mut send) = ([0; 4 * 1460], [0; 2048]);
    loop {
        let mut socket = TcpSocket::new(stack, &mut receive, &mut send);
        match talk(&mut socket, stack).await {
            Some(length) => log::info!("{length} bytes from {HOST}"),
            None => log::warn!("no answer from {HOST}"),
        }
        drop(socket);
        Timer::after_secs(60).await;
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    esp_println::println!("\n{info}\nrestarting");
    s3ota_esp::restart()
}

/// Asks for the page of a host; the length of the answer.
async fn talk(socket: &mut TcpSocket<'_>, stack: embassy_net::Stack<'_>) -> Option<usize> {
    let addresses = stack.dns_query(HOST, DnsQueryType::A).await.ok()?;
    socket.connect((*addresses.first()?, 80)).await.ok()?;
    let mut request = &b"GET / HTTP/1.0\r\n\r\n"[..];
    while !request.is_empty() {
        let written = socket.write(request).await.ok()?;
        request = request.get(written..)?;
    }
    socket.flush().await.ok()?;
    let mut length = 0;
    let mut buffer = [0; 256];
    loop {
        match socket.read(&mut buffer).await.ok()? {
            0 => return Some(length),
            n => length += n,
        }
    }
}
