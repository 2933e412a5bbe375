//! `--user`: whose sockets a question is about.

use nix::unistd::User;

use crate::fib::Fib;

/// Whose sockets are meant: rules of the host may go by that.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct AsUser {
    /// Whom `viaduct run` runs as, by name or number: rules of the host may go by that (`uidrange`) [default: who asks]
    #[arg(long = "user", value_name = "USER", value_parser = id)]
    pub uid: Option<u32>,
}

impl AsUser {
    /// The snapshot for these sockets.
    pub fn of(self, fib: Fib) -> Fib {
        match self.uid {
            None => fib,
            Some(uid) => fib.for_user(uid),
        }
    }

    /// What to know of an answer that may be another for the process that runs.
    pub fn note(self, fib: &Fib) -> Option<String> {
        let is_open = self.uid.is_none() && fib.goes_by_user();
        is_open.then(|| {
            let user = nix::unistd::geteuid();
            format!("rules of this host go by the user (uidrange), and this is asked as user {user}: --user says another")
        })
    }
}

fn id(text: &str) -> Result<u32, String> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    match User::from_name(text) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err("this host has no such user".into()),
        Err(error) => Err(format!("users cannot be looked up: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_number_or_a_name() {
        assert_eq!((id("0"), id("1234"), id("root")), (Ok(0), Ok(1_234), Ok(0)));
        assert_eq!(id("no such user"), Err("this host has no such user".into()));
        assert!(id("-1").is_err() && id("4294967296").is_err());
    }
}
