//! The resources `outgoing-response` and `response-outparam`: how a guest answers.

use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, StatusCode};
use wasmtime::Result;
use wasmtime::component::Resource;

use super::exchange::{Answered, Exchange};
use super::pipe::{Bounds, Of, Reader};
use super::{ErrorCode, Fields, OutgoingBody};
use crate::WasiCtx;
use crate::bindings::wasi::http::types::{
    DnsErrorPayload, FieldSizePayload, HostOutgoingResponse, HostResponseOutparam, TlsAlertReceivedPayload,
};

/// The type of `outgoing-response`.
pub struct OutgoingResponse {
    status: StatusCode,
    headers: Fields,
    body: Option<Reader>,
}

/// The type of `response-outparam`.
pub struct ResponseOutparam(pub(super) Exchange);

impl OutgoingResponse {
    /// As it goes out; an error if it cannot.
    fn into_answer(self, exchange: &Exchange) -> Result<Answered, ErrorCode> {
        if self.status.is_informational() {
            let why = format!("{} is no final status", self.status.as_u16());
            return Err(ErrorCode::InternalError(Some(why)));
        }
        let length = self.headers.content_length();
        let bodyless = exchange.method == Method::HEAD
            || matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let body = match self.body {
            Some(body) if bodyless => {
                body.discard(exchange.progress.clone());
                Reader::empty()
            }
            Some(body) => body,
            None if length.is_some_and(|length| length > 0) && !bodyless => {
                return Err(ErrorCode::HttpResponseBodySize(Some(0)));
            }
            None => Reader::empty(),
        };
        if body.announced().is_some_and(|length| length > exchange.most_response) {
            return Err(ErrorCode::HttpResponseBodySize(body.announced()));
        }
        let mut headers = self.headers.into_map();
        if let Some(length) = length {
            // One length, whatever else the guest appended to it.
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let mut answer = http::Response::new(body);
        *answer.status_mut() = self.status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }
}

impl HostOutgoingResponse for WasiCtx {
    fn new(&mut self, headers: Resource<Fields>) -> Result<Resource<OutgoingResponse>> {
        let headers = self.table.delete(headers)?.freeze();
        Ok(self.table.push(OutgoingResponse { status: StatusCode::OK, headers, body: None })?)
    }

    fn status_code(&mut self, response: Resource<OutgoingResponse>) -> Result<u16> {
        Ok(self.table.get(&response)?.status.as_u16())
    }

    fn set_status_code(&mut self, response: Resource<OutgoingResponse>, code: u16) -> Result<Result<(), ()>> {
        let this = self.table.get_mut(&response)?;
        Ok(StatusCode::from_u16(code).map(|status| this.status = status).map_err(|_| ()))
    }

    fn headers(&mut self, response: Resource<OutgoingResponse>) -> Result<Resource<Fields>> {
        let headers = self.table.get(&response)?.headers.copy()?;
        Ok(self.table.push(headers)?)
    }

    fn body(&mut self, response: Resource<OutgoingResponse>) -> Result<Result<Resource<OutgoingBody>, ()>> {
        let most = self.http.most_response();
        let this = self.table.get_mut(&response)?;
        if this.body.is_some() {
            return Ok(Err(()));
        }
        let bounds = Bounds { announced: this.headers.content_length(), most, of: Of::Response };
        let (body, reader) = OutgoingBody::new(bounds, &self.http.quota)?;
        this.body = Some(reader);
        Ok(Ok(self.table.push(body)?))
    }

    fn drop(&mut self, response: Resource<OutgoingResponse>) -> Result<()> {
        self.table.delete(response)?;
        Ok(())
    }
}

/// An error without what the guest wrote into it: nobody is told of that, and it may be long.
fn without_text(error: ErrorCode) -> ErrorCode {
    use ErrorCode as E;
    match error {
        E::InternalError(_) => E::InternalError(None),
        E::DnsError(_) => E::DnsError(DnsErrorPayload { rcode: None, info_code: None }),
        E::TlsAlertReceived(_) => {
            E::TlsAlertReceived(TlsAlertReceivedPayload { alert_id: None, alert_message: None })
        }
        E::HttpRequestHeaderSize(_) => E::HttpRequestHeaderSize(None),
        E::HttpRequestTrailerSize(_) => E::HttpRequestTrailerSize(NOTHING),
        E::HttpResponseHeaderSize(_) => E::HttpResponseHeaderSize(NOTHING),
        E::HttpResponseTrailerSize(_) => E::HttpResponseTrailerSize(NOTHING),
        E::HttpResponseTransferCoding(_) => E::HttpResponseTransferCoding(None),
        E::HttpResponseContentCoding(_) => E::HttpResponseContentCoding(None),
        other => other,
    }
}

const NOTHING: FieldSizePayload = FieldSizePayload { field_name: None, field_size: None };

impl HostResponseOutparam for WasiCtx {
    fn send_informational(
        &mut self,
        outparam: Resource<ResponseOutparam>,
        _status: u16,
        headers: Resource<Fields>,
    ) -> Result<Result<(), ErrorCode>> {
        self.table.get(&outparam)?;
        self.table.delete(headers)?;
        let why = "informational responses are not sent here".to_owned();
        Ok(Err(ErrorCode::InternalError(Some(why))))
    }

    async fn set(
        &mut self,
        outparam: Resource<ResponseOutparam>,
        response: Result<Resource<OutgoingResponse>, ErrorCode>,
    ) -> Result<()> {
        let ResponseOutparam(exchange) = self.table.delete(outparam)?;
        let answer = match response {
            Ok(response) => self.table.delete(response)?.into_answer(&exchange),
            Err(error) => Err(without_text(error)),
        };
        // Whoever is answered may rely on what the app stored before it answered.
        self.files.flush().await?;
        exchange.answer(answer);
        Ok(())
    }

    fn drop(&mut self, outparam: Resource<ResponseOutparam>) -> Result<()> {
        self.table.delete(outparam)?;
        Ok(())
    }
}
