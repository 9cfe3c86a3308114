//! A server that answers each request with the next of its answers, and keeps what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

pub struct Asked {
    /// `GET /path?query`.
    pub line: String,
    pub headers: String,
    pub body: String,
}

pub struct Script {
    pub url: String,
    asked: Receiver<Asked>,
}

impl Script {
    /// Each answer is a status, further header lines, and a body.
    pub fn start(answers: Vec<(u16, &'static str, String)>) -> Script {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            for (status, headers, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = Vec::new();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    if line.trim().is_empty() {
                        break;
                    }
                    head.push(line.trim().to_string());
                }
                let length =
                    head.iter().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse().unwrap()));
                let mut sent = vec![0; length.unwrap_or(0)];
                reader.read_exact(&mut sent).unwrap();
                let line = head.remove(0).trim_end_matches(" HTTP/1.1").to_string();
                sender.send(Asked { line, headers: head.join("\n"), body: String::from_utf8(sent).unwrap() }).unwrap();
                let answer = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len());
                // The client may have given up.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Script { url, asked }
    }

    pub fn next(&self) -> Asked {
        self.asked.recv().unwrap()
    }

    pub fn asked(&self) -> usize {
        self.asked.try_iter().count()
    }
}
