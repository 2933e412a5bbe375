//! What sort of message it is, as far as counting goes.

macro_rules! classes {
    ($($(#[doc = $doc:literal])+ $variant:ident => $label:literal,)+) => {
        /// A message's class: the method of a request, the first digit of a response's status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Class { $($(#[doc = $doc])+ $variant,)+ }

        impl Class {
            /// All classes, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The metric's label.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }
    };
}

classes! {
    /// INVITE (RFC 3261 §13)
    Invite => "INVITE",
    /// ACK (RFC 3261 §13)
    Ack => "ACK",
    /// CANCEL (RFC 3261 §9)
    Cancel => "CANCEL",
    /// BYE (RFC 3261 §15)
    Bye => "BYE",
    /// REGISTER (RFC 3261 §10)
    Register => "REGISTER",
    /// OPTIONS (RFC 3261 §11)
    Options => "OPTIONS",
    /// PRACK (RFC 3262)
    Prack => "PRACK",
    /// UPDATE (RFC 3311)
    Update => "UPDATE",
    /// SUBSCRIBE (RFC 6665)
    Subscribe => "SUBSCRIBE",
    /// NOTIFY (RFC 6665)
    Notify => "NOTIFY",
    /// REFER (RFC 3515)
    Refer => "REFER",
    /// MESSAGE (RFC 3428)
    Message => "MESSAGE",
    /// INFO (RFC 6086)
    Info => "INFO",
    /// PUBLISH (RFC 3903)
    Publish => "PUBLISH",
    /// Any other method.
    OtherMethod => "other",
    /// Response, provisional
    Status1xx => "1xx",
    /// Response, success
    Status2xx => "2xx",
    /// Response, redirection
    Status3xx => "3xx",
    /// Response, request failure
    Status4xx => "4xx",
    /// Response, server failure
    Status5xx => "5xx",
    /// Response, global failure
    Status6xx => "6xx",
    /// Neither a request nor a response.
    NotSip => "not_sip",
}

impl Class {
    /// Tells the class by the first bytes. It only counts: what the message is, the parser decides.
    pub fn of(bytes: &[u8]) -> Self {
        let start = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len());
        let bytes = bytes.get(start..).unwrap_or_default();
        match bytes {
            [b'S', b'I', b'P', b'/', b'2', b'.', b'0', b' ', digit, ..] => Self::of_status(*digit),
            _ => {
                let end = bytes.iter().position(|b| *b <= b' ').filter(|end| bytes.get(*end) == Some(&b' '));
                end.and_then(|end| bytes.get(..end)).map_or(Self::NotSip, Self::of_method)
            }
        }
    }

    fn of_status(digit: u8) -> Self {
        match digit {
            b'1' => Self::Status1xx,
            b'2' => Self::Status2xx,
            b'3' => Self::Status3xx,
            b'4' => Self::Status4xx,
            b'5' => Self::Status5xx,
            b'6' => Self::Status6xx,
            _ => Self::NotSip,
        }
    }

    fn of_method(method: &[u8]) -> Self {
        match method {
            b"INVITE" => Self::Invite,
            b"ACK" => Self::Ack,
            b"CANCEL" => Self::Cancel,
            b"BYE" => Self::Bye,
            b"REGISTER" => Self::Register,
            b"OPTIONS" => Self::Options,
            b"PRACK" => Self::Prack,
            b"UPDATE" => Self::Update,
            b"SUBSCRIBE" => Self::Subscribe,
            b"NOTIFY" => Self::Notify,
            b"REFER" => Self::Refer,
            b"MESSAGE" => Self::Message,
            b"INFO" => Self::Info,
            b"PUBLISH" => Self::Publish,
            [] => Self::NotSip,
            _ if method.iter().all(u8::is_ascii_graphic) => Self::OtherMethod,
            _ => Self::NotSip,
        }
    }
}
