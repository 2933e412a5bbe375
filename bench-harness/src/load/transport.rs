//! What messages travel by.

/// What callers' messages travel by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// UDP
    Udp,
    /// TCP
    Tcp,
    /// TLS
    Tls,
    /// WebSocket (RFC 7118)
    Ws,
    /// WebSocket over TLS
    Wss,
}

impl Transport {
    /// As a Via names it.
    pub fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// What a URI has for it.
    pub fn parameter(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
            // RFC 7118 §5.2 knows one for both.
            Self::Ws | Self::Wss => ";transport=ws",
        }
    }

    /// What the callee is reached by: nobody connects to a browser.
    pub fn of_callee(self) -> Self {
        if self.is_websocket() { Self::Tcp } else { self }
    }

    /// Messages go by connections, and nothing is sent again.
    pub fn is_stream(self) -> bool {
        self != Self::Udp
    }

    /// Messages are in frames.
    pub fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// Callers' connections are over TLS.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }
}
