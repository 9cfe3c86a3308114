//! JSON of a line, with its fields in order, so that a field that is said twice is seen.
//!
//! A reader of its own, because numbers must come out as the nearest float: one unit in the last place of `lambda` moves the
//! wait near saturation, and serde_json rounds correctly only with a feature that would hold for the whole workspace.

use crate::Refusal;

/// The longest line that is read.
pub const MAX_LINE: usize = 65_536;

#[derive(Clone, Debug)]
pub enum Json {
    Null,
    Number(f64),
    Text(String),
    Object(Vec<(String, Json)>),
    /// A list or a truth value, which no field takes
    Other(&'static str),
}

impl Json {
    fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Number(_) => "a number",
            Json::Text(_) => "text",
            Json::Object(_) => "an object",
            Json::Other(kind) => kind,
        }
    }
}

/// Objects and lists within each other, at most.
const DEEPEST: usize = 16;

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn fault(&self, what: &str) -> Refusal {
        let column = self.text[..self.at.min(self.text.len())].chars().count() + 1;
        Refusal::new(
            format!("column {column}"),
            format!("not JSON: {what}"),
            "put one JSON object on a line; NaN and infinity are not JSON",
        )
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Takes `wanted` after spaces, if it is next.
    fn take(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json, Refusal> {
        if depth > DEEPEST {
            return Err(self.fault("nested too deeply"));
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            None => Err(self.fault("the line ends where a value is expected")),
            _ => {
                for (word, value) in [("null", Json::Null), ("true", Json::Other("true")), ("false", Json::Other("false"))] {
                    if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.fault("a value is expected"))
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, Refusal> {
        self.at += 1;
        let mut fields = Vec::new();
        if self.take(b'}') {
            return Ok(Json::Object(fields));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.fault("a field's name in quotes is expected"));
            }
            let name = self.string()?;
            if !self.take(b':') {
                return Err(self.fault("a colon is expected"));
            }
            fields.push((name, self.value(depth + 1)?));
            if self.take(b'}') {
                return Ok(Json::Object(fields));
            }
            if !self.take(b',') {
                return Err(self.fault("a comma or the end of the object is expected"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json, Refusal> {
        self.at += 1;
        if self.take(b']') {
            return Ok(Json::Other("a list"));
        }
        loop {
            self.value(depth + 1)?;
            if self.take(b']') {
                return Ok(Json::Other("a list"));
            }
            if !self.take(b',') {
                return Err(self.fault("a comma or the end of the list is expected"));
            }
        }
    }

    /// A number as JSON writes it, to the nearest float.
    fn number(&mut self) -> Result<Json, Refusal> {
        let begin = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let whole = self.digits();
        let leads_with_zero = whole > 1 && self.text.as_bytes()[self.at - whole] == b'0';
        let mut is_number = whole > 0 && !leads_with_zero;
        if self.peek() == Some(b'.') {
            self.at += 1;
            is_number &= self.digits() > 0;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            is_number &= self.digits() > 0;
        }
        let parsed = self.text[begin..self.at].parse::<f64>();
        let end = std::mem::replace(&mut self.at, begin);
        match parsed {
            Ok(value) if is_number && value.is_finite() => {
                self.at = end;
                Ok(Json::Number(value))
            }
            Ok(_) if is_number => Err(self.fault("the number is out of range")),
            _ => Err(self.fault("this is no number")),
        }
    }

    fn digits(&mut self) -> usize {
        let begin = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - begin
    }

    /// Text in quotes: its end is found here, its escapes are serde_json's.
    fn string(&mut self) -> Result<String, Refusal> {
        let begin = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err(self.fault("the text has no end")),
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        let parsed = self.text.get(begin..self.at).and_then(|text| serde_json::from_str(text).ok());
        parsed.ok_or_else(|| Reader { text: self.text, at: begin }.fault("the text has a wrong escape or a control character"))
    }
}

/// The fields of one object, and its path.
#[derive(Clone, Debug)]
pub struct Fields {
    path: String,
    list: Vec<(String, Json)>,
}

pub fn parse(line: &str) -> Result<Fields, Refusal> {
    if line.len() > MAX_LINE {
        return Err(Refusal::new(
            "line",
            format!("the line has {} bytes, and at most {MAX_LINE} are read", line.len()),
            "put one object on a line",
        ));
    }
    let mut reader = Reader { text: line, at: 0 };
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.peek().is_some() {
        return Err(reader.fault("something follows the object"));
    }
    match value {
        Json::Object(list) => Ok(Fields { path: String::new(), list }),
        other => Err(Refusal::new("line", format!("the line is {}", other.kind()), "put one JSON object on a line")),
    }
}

impl Fields {
    pub fn place(&self) -> &str {
        &self.path
    }

    pub fn at(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// The fields that say something: null counts as absent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.list.iter().filter(|(_, value)| !matches!(value, Json::Null)).map(|(name, value)| (name.as_str(), value))
    }

    fn get(&self, field: &str) -> Option<&Json> {
        self.iter().find(|(name, _)| *name == field).map(|(_, value)| value)
    }

    pub fn without(&self, field: &str) -> Fields {
        Fields { path: self.path.clone(), list: self.list.iter().filter(|(name, _)| name != field).cloned().collect() }
    }

    /// Refuses fields that are not in `known`, and those that are there twice.
    pub fn check_known(&self, known: &str) -> Result<(), Refusal> {
        for (index, (name, _)) in self.list.iter().enumerate() {
            let shown: String = name.chars().take(60).collect();
            if !known.split(' ').any(|field| field == name) {
                let near = known.split(' ').find(|field| is_near(field, name));
                let hint = match near {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("use {}", known.split(' ').collect::<Vec<_>>().join(", ")),
                };
                return Err(Refusal::new(self.at(&shown), "unknown field", hint));
            }
            if self.list[..index].iter().any(|(before, _)| before == name) {
                return Err(Refusal::new(self.at(&shown), "the field is there twice", "keep one"));
            }
        }
        Ok(())
    }

    fn wrong(&self, field: &str, value: &Json, needed: &str) -> Refusal {
        Refusal::new(self.at(field), format!("this is {}", value.kind()), format!("use {needed}"))
    }

    pub fn text(&self, field: &str) -> Result<Option<&str>, Refusal> {
        match self.get(field) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(field, other, "text in quotes")),
        }
    }

    pub fn number(&self, field: &str, low: f64, high: f64) -> Result<Option<f64>, Refusal> {
        match self.get(field) {
            None => Ok(None),
            Some(Json::Number(value)) if value.is_finite() && (low..=high).contains(value) => Ok(Some(*value)),
            Some(Json::Number(value)) => {
                let hint = if *value < low && low >= 0.0 {
                    format!("use a number from {low} on")
                } else {
                    format!("use a number from {low} to {high}, or another unit")
                };
                Err(Refusal::new(self.at(field), format!("{value} is not within {low} to {high}"), hint))
            }
            Some(other) => Err(self.wrong(field, other, "a number")),
        }
    }

    /// A whole number of servers.
    pub fn count(&self, field: &str, least: u32) -> Result<Option<u32>, Refusal> {
        let most = f64::from(crate::erlang::MAX_SERVERS);
        match self.number(field, f64::from(least), most)? {
            None => Ok(None),
            Some(value) if value.fract() == 0.0 => Ok(Some(value as u32)),
            Some(value) => Err(Refusal::new(self.at(field), format!("{value} is not whole"), "use a whole number of servers")),
        }
    }

    pub fn object(&self, field: &str) -> Result<Option<Fields>, Refusal> {
        match self.get(field) {
            None => Ok(None),
            Some(Json::Object(list)) => Ok(Some(Fields { path: self.at(field), list: list.clone() })),
            Some(other) => Err(self.wrong(field, other, "an object in braces")),
        }
    }

    /// What the answer repeats, so that answers can be told apart.
    pub fn id(&self) -> Option<serde_json::Value> {
        match self.get("id")? {
            Json::Number(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(serde_json::Value::from(*value as i64)),
            Json::Number(value) => Some(serde_json::Value::from(*value)),
            Json::Text(text) => Some(serde_json::Value::from(text.clone())),
            _ => None,
        }
    }
}

/// Whether one name can be had from the other by one letter put in, left out or changed, or two exchanged.
fn is_near(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > 1 {
        return false;
    }
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let tail = a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (rest_a, rest_b) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);
    rest_a.len() <= 1 && rest_b.len() <= 1 || (rest_a.len() == 2 && rest_b.len() == 2 && rest_a[0] == rest_b[1] && rest_a[1] == rest_b[0])
}
