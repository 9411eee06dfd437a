//! libpq's `target_session_attrs`: which of several servers to accept.

use std::str::FromStr;

use tokio_postgres::{Client, Error as PgError, SimpleQueryMessage};

/// The kind of server to accept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum TargetSession {
    /// Any server.
    #[default]
    Any,
    /// One whose transactions may write by default.
    ReadWrite,
    /// One whose transactions may not write by default.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One that is in recovery.
    Standby,
    /// A standby if any of the hosts is one, otherwise any server.
    PreferStandby,
    /// One that is not in recovery if any of the hosts is, otherwise any server. libpq has no such value.
    PreferPrimary,
}

/// Which of several hosts to use where `target_session_attrs` is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostChoice {
    /// The first that accepts the login.
    #[default]
    Any,
    /// The first that is a primary. It is an error if there is none.
    Primary,
    /// The first that is a primary, or, if there is none, the first that accepts the login.
    PreferPrimary,
}

impl From<HostChoice> for TargetSession {
    fn from(choice: HostChoice) -> TargetSession {
        match choice {
            HostChoice::Any => TargetSession::Any,
            HostChoice::Primary => TargetSession::Primary,
            HostChoice::PreferPrimary => TargetSession::PreferPrimary,
        }
    }
}

impl FromStr for TargetSession {
    /// The text is not one of the six values. The caller knows where it came from.
    type Err = ();

    fn from_str(text: &str) -> Result<TargetSession, ()> {
        Ok(match text {
            "any" => TargetSession::Any,
            "read-write" => TargetSession::ReadWrite,
            "read-only" => TargetSession::ReadOnly,
            "primary" => TargetSession::Primary,
            "standby" => TargetSession::Standby,
            "prefer-standby" => TargetSession::PreferStandby,
            _ => return Err(()),
        })
    }
}

impl TargetSession {
    /// What to demand of the hosts, one pass over them for each.
    pub(crate) fn passes(self) -> &'static [TargetSession] {
        match self {
            TargetSession::Any => &[TargetSession::Any],
            TargetSession::ReadWrite => &[TargetSession::ReadWrite],
            TargetSession::ReadOnly => &[TargetSession::ReadOnly],
            TargetSession::Primary => &[TargetSession::Primary],
            TargetSession::Standby => &[TargetSession::Standby],
            TargetSession::PreferStandby => &[TargetSession::Standby, TargetSession::Any],
            TargetSession::PreferPrimary => &[TargetSession::Primary, TargetSession::Any],
        }
    }

    /// What to demand once a server has been chosen: one that was not preferred has been accepted by then.
    pub(crate) fn once_chosen(self) -> TargetSession {
        match self {
            TargetSession::PreferStandby | TargetSession::PreferPrimary => TargetSession::Any,
            wanted => wanted,
        }
    }

    /// Whether the server of `client` is of this kind.
    ///
    /// The connection of `client` has to be driven meanwhile.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn is_met(self, client: &Client) -> Result<bool, PgError> {
        let is_read_only = "SHOW transaction_read_only";
        let is_standby = "SELECT pg_catalog.pg_is_in_recovery()";
        let (question, unwanted) = match self {
            TargetSession::Any | TargetSession::PreferStandby | TargetSession::PreferPrimary => {
                return Ok(true);
            }
            TargetSession::ReadWrite => (is_read_only, "on"),
            TargetSession::ReadOnly => (is_read_only, "off"),
            TargetSession::Primary => (is_standby, "t"),
            TargetSession::Standby => (is_standby, "f"),
        };
        let answer = client.simple_query(question).await?;
        let is_unwanted = answer
            .iter()
            .any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some(unwanted)));
        Ok(!is_unwanted)
    }

    /// What is wrong with a server that is not of this kind.
    pub(crate) fn mismatch(self) -> &'static str {
        match self {
            TargetSession::ReadWrite => "the session is read-only",
            TargetSession::ReadOnly => "the session is not read-only",
            TargetSession::Primary => "the server is a standby",
            TargetSession::Standby => "the server is not a standby",
            TargetSession::Any | TargetSession::PreferStandby | TargetSession::PreferPrimary => {
                unreachable!("every server will do")
            }
        }
    }
}
