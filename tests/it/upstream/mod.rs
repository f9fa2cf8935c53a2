//! Before another registry: what goes out and what comes back, byte by byte (`heads`, `bodies`, `failures`, `crowd`), who is let
//! through (`gate`), real clients and the conformance suite before docker-registry (`clients`, `conformance`), answers
//! compared with our own (`shadow`), and figures beside nginx (`figures`).

mod bodies;
mod clients;
mod conformance;
mod crowd;
mod failures;
mod figures;
mod front;
mod gate;
mod heads;
mod scripted;
mod shadow;
