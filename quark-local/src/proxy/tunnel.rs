//! Connections that have stopped to speak HTTP.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use super::edge::Client;
use super::upstream::InFlight;

/// Passes bytes in both directions until both ends have nothing to say, one
/// is cut, or `cut` is set. It counts as a request and as a client all the while.
pub(super) async fn run(
    client: OnUpgrade,
    slot: OnUpgrade,
    in_flight: Arc<InFlight>,
    from: Arc<Client>,
    cut: CancellationToken,
) {
    let pass = async {
        let (client, slot) = tokio::try_join!(client, slot)?;
        let (mut client, mut slot) = (TokioIo::new(client), TokioIo::new(slot));
        let passed = tokio::io::copy_bidirectional(&mut client, &mut slot).await;
        Ok::<_, hyper::Error>(passed)
    };
    let upstream = in_flight.upstream();
    tokio::select! {
        biased;
        () = cut.cancelled() => {}
        passed = pass => match passed {
            Ok(Ok(_)) => {}
            // One side has gone, which the other one learns by the end of its connection.
            Ok(Err(error)) => tracing::debug!(app = %upstream.app, %error, "an upgraded connection was cut"),
            Err(error) => tracing::debug!(app = %upstream.app, %error, "a connection was cut before its upgrade"),
        },
    }
    drop(from);
}
