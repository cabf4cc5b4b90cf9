//! Errors: a class that clients instantiate by name, a message, and a status that each endpoint chooses.

use std::fmt;

use http::StatusCode;
use serde_json::{Value, json};

macro_rules! classes {
    ($($name:ident = $status:literal),+ $(,)?) => {
        /// The exception classes that we answer with, by their names in the client.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Class { $($name),+ }

        impl Class {
            pub const fn name(self) -> &'static str {
                match self { $(Class::$name => stringify!($name)),+ }
            }

            pub fn named(name: &str) -> Option<Self> {
                match name { $(stringify!($name) => Some(Class::$name),)+ _ => None }
            }

            /// The status that most endpoints give it.
            pub fn usual_status(self) -> StatusCode {
                let code = match self { $(Class::$name => $status),+ };
                StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    };
}

classes! {
    AccessDenied = 401, CannotAuthenticate = 401, CannotAuthorize = 401,
    AccountNotFound = 404, ScopeNotFound = 404, DataIdentifierNotFound = 404, RSENotFound = 404,
    ReplicaNotFound = 404, RuleNotFound = 404, RSEProtocolNotSupported = 404, RSEAttributeNotFound = 404,
    RSEProtocolDomainNotSupported = 404, RSEOperationNotSupported = 404, RequestNotFound = 404, KeyNotFound = 404,
    ConfigNotFound = 404, IdentityNotFound = 401, IdentityError = 400, CounterNotFound = 404, ConfigurationError = 400,
    SubscriptionNotFound = 404, SubscriptionDuplicate = 409, LifetimeExceptionNotFound = 404,
    LifetimeExceptionDuplicate = 409, UnsupportedValueType = 400, UnsupportedKeyType = 400,
    OpenDataDataIdentifierNotFound = 404, OpenDataDataIdentifierAlreadyExists = 409, OpenDataInvalidState = 400,
    OpenDataInvalidStateUpdate = 400, OpenDataDuplicateDOI = 400, OpenDataError = 400,
    ManualRuleApprovalBlocked = 409, StagingAreaRuleRequiresLifetime = 409, RSEOverQuota = 500,
    Duplicate = 409, DuplicateContent = 409, DuplicateRule = 409, DataIdentifierAlreadyExists = 409,
    FileAlreadyExists = 409, FileConsistencyMismatch = 412, UnsupportedOperation = 409, UnsupportedStatus = 409,
    RSEProtocolPriorityError = 409, InvalidReplicationRule = 409, InsufficientTargetRSEs = 409,
    InsufficientAccountLimit = 409, InvalidRSEExpression = 409, InvalidRuleWeight = 409, RuleReplaceFailed = 409,
    InvalidObject = 400, InvalidPath = 400, InvalidMetadata = 400, InvalidValueForKey = 400, InvalidType = 400,
    InvalidAccountType = 400, DIDFilterSyntaxError = 400, DuplicateCriteriaInDIDFilter = 400,
    UnsupportedMetadataPlugin = 400, UnsupportedAccountName = 400,
    InvalidSourceReplicaExpression = 500, MissingSourceReplica = 500, RSEWriteBlocked = 500,
    InputValidationError = 422, ReplicaIsLocked = 423, UnsupportedRequestedContentType = 406,
    ResourceTemporaryUnavailable = 503, DatabaseException = 503, ServiceUnavailable = 503, RucioException = 500,
    ValueError = 400, TypeError = 400, KeyError = 400,
}

/// An error on the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {message}")]
pub struct Exception {
    pub status: StatusCode,
    /// A [`Class`] of ours, or whatever another server said.
    pub class: String,
    pub message: String,
}

/// The message in a header is cut to this many characters.
const HEADER_MESSAGE: usize = 125;

impl Exception {
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Exception { status: class.usual_status(), class: class.name().to_owned(), message: message.into() }
    }

    /// The same exception with the status that this endpoint gives it.
    pub fn at(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub fn is(&self, class: Class) -> bool {
        self.class == class.name()
    }

    /// `{"ExceptionClass": …, "ExceptionMessage": …}`.
    pub fn body(&self) -> Value {
        json!({"ExceptionClass": self.class, "ExceptionMessage": self.message})
    }

    /// The message as it may stand in a header: one line, visible ASCII, cut.
    pub fn header_message(&self) -> String {
        let line: String =
            self.message.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { ' ' }).collect();
        if line.len() > HEADER_MESSAGE { format!("{}...", &line[..HEADER_MESSAGE]) } else { line }
    }

    /// Reads an answer that is not a success: the body first, then the headers, else the bare text.
    pub fn read(status: StatusCode, headers: &http::HeaderMap, body: &str) -> Self {
        if let Ok(Value::Object(map)) = serde_json::from_str::<Value>(body)
            && let Some(class) = map.get("ExceptionClass").and_then(Value::as_str)
        {
            let message = map.get("ExceptionMessage").and_then(Value::as_str).unwrap_or_default();
            return Exception { status, class: class.to_owned(), message: message.to_owned() };
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Exception {
            status,
            class: header("ExceptionClass").unwrap_or_else(|| Class::RucioException.name().to_owned()),
            message: header("ExceptionMessage").unwrap_or_else(|| body.chars().take(500).collect()),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let exception = Exception::new(Class::DuplicateRule, "a\nb");
        assert_eq!(exception.status, StatusCode::CONFLICT);
        assert_eq!(exception.header_message(), "a b");
        let read = Exception::read(exception.status, &http::HeaderMap::new(), &exception.body().to_string());
        assert_eq!(read, exception);
        assert!(read.is(Class::DuplicateRule));
        assert!(Exception::new(Class::RSENotFound, "é".repeat(300)).header_message().len() <= 128);
    }
}
