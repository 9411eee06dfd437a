//! A terminal to run a program on, and its screen.

use std::fs::File;
use std::io::Read as _;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// The user's end of a pseudoterminal.
pub(crate) struct Terminal {
    bytes: Receiver<Vec<u8>>,
    pending: Vec<u8>,
    /// Everything written to the terminal.
    pub written: String,
    /// What the terminal shows now.
    pub screen: Screen,
}

/// Lines of text and the cursor.
#[derive(Debug)]
pub(crate) struct Screen {
    width: usize,
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// A control sequence that is not complete yet.
    sequence: Option<String>,
}

/// What begins the line of each phase of the program's progress.
pub(crate) const PHASES: [&str; 12] = [
    "generating",
    "creating accounts",
    "opening the input",
    "reaching the server",
    "inferring types",
    "preparing the table",
    "reading",
    "building index",
    "checking constraints",
    "committing",
    "waiting for the standbys",
    "analyzing",
];

/// Characters per line, unless a test says otherwise.
const WIDTH: usize = 100;

/// How long to wait for the program before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

impl Terminal {
    /// A terminal of 50 lines, and the file through which a program uses it: what the program writes is read until
    /// the last copy of the file is closed.
    pub(crate) fn open() -> (Terminal, File) {
        Terminal::of_width(WIDTH)
    }

    /// As [`Terminal::open`], with `width` characters per line.
    pub(crate) fn of_width(width: usize) -> (Terminal, File) {
        Terminal::new(width, width)
    }

    /// As [`Terminal::open`], but it does not say how wide it is.
    pub(crate) fn of_unknown_width() -> (Terminal, File) {
        Terminal::new(0, 80)
    }

    /// A terminal with `width` characters per line, which says that it has `said`.
    fn new(said: usize, width: usize) -> (Terminal, File) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, Winsize { ws_row: 50, ws_col: said as u16, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let line = File::from(rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap());
        let (sender, bytes) = channel();
        std::thread::spawn(move || {
            let (mut master, mut buffer) = (File::from(master), [0; 4096]);
            // On Linux, reading fails with an error once the other end is closed.
            while let Ok(read @ 1..) = master.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        (
            Terminal { bytes, pending: Vec::new(), written: String::new(), screen: Screen::of_width(width) },
            line,
        )
    }

    /// Read until `is_seen` holds of the screen.
    pub(crate) fn wait_until(&mut self, is_seen: impl Fn(&Screen) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_seen(&self.screen) {
            assert!(self.read(deadline), "the program ended: {:?}", self.written);
        }
    }

    /// Read until the other end is closed.
    pub(crate) fn wait_until_closed(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.read(deadline) {}
    }

    /// Read some of what is written; `false` at the end.
    fn read(&mut self, deadline: Instant) -> bool {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        match self.bytes.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => self.pending.extend(bytes),
            Err(Disconnected) => return false,
            Err(Timeout) => panic!("not seen: {:#?}\n{:?}", self.screen.text(), self.written),
        }
        // A character may be split between two reads.
        let valid = match std::str::from_utf8(&self.pending) {
            Ok(all) => all.len(),
            Err(error) => error.valid_up_to(),
        };
        let rest = self.pending.split_off(valid);
        let text = String::from_utf8(std::mem::replace(&mut self.pending, rest)).unwrap();
        text.chars().for_each(|character| self.screen.put(character));
        self.written += &text;
        true
    }
}

impl Default for Screen {
    fn default() -> Screen {
        Screen::of_width(WIDTH)
    }
}

impl Screen {
    /// An empty screen.
    pub(crate) fn of_width(width: usize) -> Screen {
        Screen { width, lines: Vec::new(), row: 0, column: 0, sequence: None }
    }

    /// Show `character`, or carry out the control character.
    pub(crate) fn put(&mut self, character: char) {
        if let Some(mut sequence) = self.sequence.take() {
            sequence.push(character);
            if character.is_ascii_alphabetic() {
                self.obey(&sequence);
            } else {
                self.sequence = Some(sequence);
            }
            return;
        }
        match character {
            '\x1b' => self.sequence = Some(String::new()),
            '\r' => self.column = 0,
            '\n' => self.row += 1,
            _ => {
                // The character that fills a line leaves the cursor after it; only the next one wraps.
                if self.column == self.width {
                    (self.row, self.column) = (self.row + 1, 0);
                }
                let column = self.column;
                let line = self.line();
                line.resize(line.len().max(column + 1), ' ');
                line[column] = character;
                self.column += 1;
            }
        }
    }

    /// Carry out the control sequence.
    fn obey(&mut self, sequence: &str) {
        let (parameter, what) = sequence.split_at(sequence.len() - 1);
        let number = parameter.trim_start_matches(['[', '?']).parse().unwrap_or(1);
        let column = self.column;
        match what {
            "A" => self.row = self.row.saturating_sub(number),
            "B" => self.row += number,
            "K" if parameter == "[2" => self.line().clear(),
            "K" if parameter == "[" => self.line().truncate(column),
            // Colours, and whether the cursor is visible.
            "m" | "h" | "l" => {}
            _ => panic!("this terminal does not know {sequence:?}"),
        }
    }

    fn line(&mut self) -> &mut Vec<char> {
        self.lines.resize_with(self.lines.len().max(self.row + 1), Vec::new);
        &mut self.lines[self.row]
    }

    /// The lines that are not blank.
    pub(crate) fn text(&self) -> Vec<String> {
        let text = |line: &Vec<char>| line.iter().collect::<String>().trim_end().to_owned();
        self.lines.iter().map(text).filter(|line| !line.is_empty()).collect()
    }
}
