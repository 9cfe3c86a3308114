//! What a server asks, and what it is answered, as messages of RFC 1035. Pure.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};

/// Of a message over UDP, in both directions: it passes every link in one piece (DNS flag day 2020).
pub const UDP_BYTES_MAX: u16 = 1_232;
/// What is understood by whoever says nothing of it.
const PLAIN_BYTES_MAX: u16 = 512;
const HEADER_BYTES: usize = 12;

/// One question of a server.
#[derive(Clone, Debug)]
pub struct Question {
    id: u16,
    /// As it was asked, capitals included: it is given back so.
    asked: Query,
    recursion_desired: bool,
    edns: Option<u16>,
    /// In lower case: nothing of how it was written goes on.
    pub name: Name,
    pub kind: RecordType,
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub code: ResponseCode,
    pub answers: Vec<Record>,
    /// Of an answer that there is nothing, for how long that holds.
    pub authorities: Vec<Record>,
}

impl Answer {
    pub fn of(code: ResponseCode) -> Self {
        Self { code, answers: Vec::new(), authorities: Vec::new() }
    }
}

impl Question {
    /// Err: what it is answered at once, if anything.
    pub fn read(bytes: &[u8]) -> Result<Self, Option<Vec<u8>>> {
        let Ok(message) = Message::from_vec(bytes) else { return Err(unreadable(bytes)) };
        let metadata = message.metadata;
        let refused = |code| Err(Message::error_msg(metadata.id, metadata.op_code, code).to_vec().ok());
        if metadata.message_type != MessageType::Query {
            // Whoever answers an answer may be answered without end.
            return Err(None);
        }
        if metadata.op_code != OpCode::Query {
            return refused(ResponseCode::NotImp);
        }
        let [asked] = message.queries.as_slice() else { return refused(ResponseCode::FormErr) };
        let transfers = [RecordType::AXFR, RecordType::IXFR, RecordType::ANY];
        if asked.query_class() != DNSClass::IN || transfers.contains(&asked.query_type()) {
            return refused(ResponseCode::NotImp);
        }
        Ok(Self {
            id: metadata.id,
            recursion_desired: metadata.recursion_desired,
            edns: message.edns.as_ref().map(Edns::max_payload),
            name: asked.name().to_lowercase(),
            kind: asked.query_type(),
            asked: asked.clone(),
        })
    }

    pub fn udp_bytes_max(&self) -> usize {
        self.edns.unwrap_or(PLAIN_BYTES_MAX).clamp(PLAIN_BYTES_MAX, UDP_BYTES_MAX).into()
    }

    /// What does not fit is left out, and said to be.
    pub fn answered(&self, answer: &Answer, bytes_max: usize) -> Option<Vec<u8>> {
        let mut message = Message::response(self.id, OpCode::Query);
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.recursion_available = true;
        message.metadata.response_code = answer.code;
        message.add_query(self.asked.clone());
        message.add_answers(answer.answers.iter().cloned());
        message.add_authorities(answer.authorities.iter().cloned());
        if self.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_BYTES_MAX);
            message.set_edns(edns);
        }
        let whole = message.to_vec().ok();
        whole.filter(|bytes| bytes.len() <= bytes_max).or_else(|| message.truncate().to_vec().ok())
    }
}

fn unreadable(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_query = bytes.len() >= HEADER_BYTES && bytes[2] & 0x80 == 0;
    let id = u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]);
    is_query.then(|| Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::RData;
    use std::net::Ipv4Addr;

    fn query(name: &str, edns: Option<u16>) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        if let Some(bytes) = edns {
            message.set_edns(Edns::new()).edns.as_mut().unwrap().set_max_payload(bytes);
        }
        message.to_vec().unwrap()
    }

    #[test]
    fn an_answer_repeats_the_question_and_fits() {
        let question = Question::read(&query("dB.Example.org.", None)).unwrap();
        assert_eq!(question.name.to_ascii(), "db.example.org.");
        let record = |n| Record::from_rdata(question.name.clone(), 60, RData::A(Ipv4Addr::from([10, 0, 0, n]).into()));
        let mut answer = Answer::of(ResponseCode::NoError);
        answer.answers = (0..20).map(record).collect();
        let read = |bytes: Vec<u8>| Message::from_vec(&bytes).unwrap();
        let whole = read(question.answered(&answer, question.udp_bytes_max()).unwrap());
        assert!(whole.answers.len() == 20 && whole.metadata.id == 7 && whole.metadata.recursion_available && whole.edns.is_none());
        assert_eq!(whole.queries[0].name().to_ascii(), "dB.Example.org.", "programs compare it with what they sent");
        answer.answers = (0..60).map(record).collect();
        let cut = read(question.answered(&answer, question.udp_bytes_max()).unwrap());
        assert!(cut.answers.is_empty() && cut.metadata.truncation);
        let large = Question::read(&query("db.example.org.", Some(65_000))).unwrap();
        assert_eq!(large.udp_bytes_max(), 1_232, "whatever the server says it takes");
        let whole = read(large.answered(&answer, large.udp_bytes_max()).unwrap());
        assert!(whole.answers.len() == 60 && whole.edns.is_some());
        assert_eq!(read(question.answered(&answer, 65_535).unwrap()).answers.len(), 60);
    }

    #[test]
    fn what_is_no_question_is_answered_once_or_not() {
        let code = |bytes: &[u8]| Question::read(bytes).unwrap_err().map(|bytes| Message::from_vec(&bytes).unwrap().metadata.response_code);
        let good = query("db.example.org.", None);
        let change = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        assert_eq!(code(&change(2, 0x81)), None, "an answer");
        assert_eq!(code(&change(2, 0x29)), Some(ResponseCode::NotImp), "an update");
        assert_eq!(code(&change(5, 0)), Some(ResponseCode::FormErr), "no question");
        assert_eq!(code(&change(5, 9)), Some(ResponseCode::FormErr), "more than there are");
        assert_eq!(code(&change(good.len() - 3, 255)), Some(ResponseCode::NotImp), "everything of a name");
        assert_eq!(code(&change(good.len() - 3, 252)), Some(ResponseCode::NotImp), "a transfer");
        assert_eq!(code(&change(good.len() - 1, 3)), Some(ResponseCode::NotImp), "another class");
        assert_eq!(code(&good[..5]), None);
        assert_eq!(code(&good[..good.len() - 2]), Some(ResponseCode::FormErr));
        // A name that points at itself.
        let mut loops = good[..12].to_vec();
        loops.extend([0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(code(&loops), Some(ResponseCode::FormErr));
    }
}
