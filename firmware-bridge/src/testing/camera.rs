//! A camera that sends motion JPEG: each picture is of one grey, and no two alike.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};

/// Between two pictures.
const PERIOD: Duration = Duration::from_millis(15);

#[derive(Debug, Default)]
struct Shared {
    frozen: AtomicBool,
    stopped: AtomicBool,
    ended: AtomicBool,
}

/// A server on a port of its own.
#[derive(Debug)]
pub(crate) struct MotionJpeg {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl MotionJpeg {
    /// Pictures of this size at `/`. With `?page` it is no stream, with `?noise` its pictures are
    /// none, with `?some-noise` every third one is.
    pub(crate) fn start(width: u32, height: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let server = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if server.ended.load(Ordering::Relaxed) {
                    return;
                }
                let (stream, server) = (stream.unwrap(), server.clone());
                // Whoever goes away in the middle is no fault of ours.
                thread::spawn(move || serve(stream, &server, width, height).ok());
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// From now on it sends the same picture.
    pub(crate) fn freeze(&self) {
        self.shared.frozen.store(true, Ordering::Relaxed);
    }

    /// Closes every connection, and each new one.
    pub(crate) fn stop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }

    /// Takes connections again.
    pub(crate) fn again(&mut self) {
        self.shared.stopped.store(false, Ordering::Relaxed);
    }
}

impl Drop for MotionJpeg {
    fn drop(&mut self) {
        self.stop();
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address); // wakes the listener up, to end
    }
}

fn serve(mut stream: TcpStream, shared: &Shared, width: u32, height: u32) -> std::io::Result<()> {
    let mut request = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut request)?;
    let asks = |what: &str| request.contains(&format!("?{what} "));
    if asks("page") {
        return stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<p>hello</p>");
    }
    let head = "HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    let mut grey = 0_u8;
    for number in 0_u32.. {
        if shared.stopped.load(Ordering::Relaxed) {
            break;
        }
        if !shared.frozen.load(Ordering::Relaxed) {
            grey = grey.wrapping_add(7);
        }
        let mut jpeg = Vec::new();
        if asks("noise") || asks("some-noise") && number % 3 == 1 {
            jpeg.extend_from_slice(&number.to_le_bytes());
        } else {
            let image = RgbImage::from_pixel(width, height, Rgb([grey; 3]));
            JpegEncoder::new_with_quality(&mut jpeg, 90).encode_image(&image).unwrap();
        }
        let part = format!("--frame\r\nContent-Length: {}\r\n\r\n", jpeg.len());
        stream.write_all(&[part.as_bytes(), &jpeg, b"\r\n"].concat())?;
        thread::sleep(PERIOD);
    }
    Ok(())
}
