//! Answers whose headers are not text: whoever wrote an object may have named anything in any bytes (RFC 9110 §5.5,
//! obs-text), and none of it may keep the object from being read.
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeDeserializationInterceptorContextMut},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;

/// Has every header of an answer be text: bytes that are not UTF-8 become U+FFFD each, which tells that there was
/// something that cannot be said. The SDK refuses the whole answer otherwise.
#[derive(Debug)]
pub(super) struct HeadersAreText;

impl Intercept for HeadersAreText {
    fn name(&self) -> &'static str {
        "HeadersAreText"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response_mut().headers_mut();
        let no_text: Vec<_> = headers
            .iter_bytes()
            .filter(|(_, value)| std::str::from_utf8(value).is_err())
            .map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into_owned()))
            .collect();
        for (name, text) in no_text {
            headers.try_insert(name, text)?;
        }
        Ok(())
    }
}
