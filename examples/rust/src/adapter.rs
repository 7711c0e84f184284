//! The operations in axum: its request in, its response out. Another server takes an adapter of its own, as long.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request as Asked, State};
use axum::http::{StatusCode, header};
use axum::response::Response as Answered;
use uplifted_ops::Scope;
use uplifted_ops::http::{MAX_BODY, Request, Responder};

/// Gives every path that `router` does not know to `responder`. Serve it with
/// `into_make_service_with_connect_info::<SocketAddr>()`: who asks decides about what is answered.
pub fn mount(router: Router, responder: Responder) -> Router {
    router.fallback_service(Router::new().fallback(answer).with_state(responder))
}

async fn answer(
    State(responder): State<Responder>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    asked: Asked,
) -> Answered {
    let (head, body) = asked.into_parts();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::from_target(head.method.as_str(), target).peer(peer.ip());
    for (name, value) in &head.headers {
        request = request.header(name, value);
    }
    // HTTP/2 says it in the URI.
    if let (Some(authority), None) = (head.uri.authority(), head.headers.get(header::HOST)) {
        request = request.header("host", authority.as_str());
    }
    if head.method == "POST" {
        request = match to_bytes(body, MAX_BODY).await {
            Ok(body) => request.body(body),
            // Or the sender is gone, and nobody hears the answer.
            Err(_) => request.body_too_long(),
        };
    }
    // A caller who goes away drops this future, and that cancels the operation.
    let response = responder.respond(Scope::default(), request).await;
    let mut answered = Answered::builder().status(response.status);
    for (name, value) in response.headers {
        answered = answered.header(name, value);
    }
    answered.body(Body::from(response.body)).unwrap_or_else(|_| {
        let mut failed = Answered::default();
        *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        failed
    })
}
