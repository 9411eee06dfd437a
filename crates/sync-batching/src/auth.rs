//! Which ways of authentication the server may ask for.

use std::io;

/// A way in which a server authenticates the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthMethod {
    /// The server asks for nothing over this protocol; it may still have verified a TLS client certificate.
    None,
    /// The password in plain text.
    Password,
    /// The MD5 hash of the password.
    Md5,
    /// GSSAPI.
    Gss,
    /// SSPI.
    Sspi,
    /// SCRAM, with or without channel binding.
    Scram,
}

impl AuthMethod {
    const ALL: [AuthMethod; 6] = [
        AuthMethod::None,
        AuthMethod::Password,
        AuthMethod::Md5,
        AuthMethod::Gss,
        AuthMethod::Sspi,
        AuthMethod::Scram,
    ];

    /// The method in a set of them.
    fn bit(self) -> u8 {
        1 << AuthMethod::ALL.iter().position(|&method| method == self).unwrap_or_default()
    }

    /// A set of methods; never 0, which stands for all.
    pub(crate) fn set(methods: &[AuthMethod]) -> u8 {
        methods.iter().fold(1 << 7, |set, method| set | method.bit())
    }
}

/// What the server has asked for so far.
#[derive(Debug, Default)]
pub(crate) struct Authentication {
    asked: Option<AuthMethod>,
    /// The server has proved in its last SCRAM message that it knows the password.
    proved: bool,
}

impl Authentication {
    /// Record the request with `code`, or that the server is content, and check that `allowed` has its method.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] when it does not.
    pub(crate) fn request(&mut self, code: i32, allowed: u8) -> io::Result<()> {
        let method = match code {
            // Content without a proof, the server may not know the password at all.
            0 if self.asked == Some(AuthMethod::Scram) && !self.proved => AuthMethod::None,
            0 => self.asked.unwrap_or(AuthMethod::None),
            3 => AuthMethod::Password,
            5 => AuthMethod::Md5,
            7 => AuthMethod::Gss,
            9 => AuthMethod::Sspi,
            10 => AuthMethod::Scram,
            12 => {
                self.proved = true;
                return Ok(());
            }
            _ => return Ok(()),
        };
        if allowed != 0 && allowed & method.bit() == 0 {
            let problem = match method {
                AuthMethod::None => "the server does not ask for authentication".to_owned(),
                method => format!("the server asks for authentication method {method:?}").to_lowercase(),
            };
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
        }
        self.asked = Some(method);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the requests with `codes`, one after another, pass.
    fn passes(codes: &[i32], allowed: &[AuthMethod]) -> bool {
        let mut authentication = Authentication::default();
        codes.iter().all(|&code| authentication.request(code, AuthMethod::set(allowed)).is_ok())
    }

    #[test]
    fn only_the_allowed_methods_pass() {
        use AuthMethod::{Md5, None, Password, Scram};
        assert!(passes(&[10, 11, 12, 0], &[Scram]));
        assert!(!passes(&[10, 11, 0], &[Scram]));
        assert!(!passes(&[0], &[Scram]) && passes(&[0], &[None]));
        assert!(!passes(&[3], &[Scram, Md5]) && passes(&[3, 0], &[Password]));
        assert!(!passes(&[5], &[]) && passes(&[5, 0], &[Md5, None]));
        assert!(Authentication::default().request(3, 0).is_ok());
    }
}
