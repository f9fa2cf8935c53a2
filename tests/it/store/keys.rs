//! Keys that a store stops to take before their end.

use futures_util::future::join_all;
use pierhead::store::{
    Precondition,
    error::Kind,
    s3::settings::{Authorization, Container, Credentials},
};

use crate::{
    store::contract::{key, s3_store},
    support::s3::{ACCESS_KEY, SECRET_KEY, agent::Agent, seaweed},
};

fn container(agent: &Agent) -> Credentials {
    let uri = format!("http://{}/keys", agent.address).parse().unwrap();
    Credentials::Container(Container { uri, authorization: Authorization::Nothing })
}

#[tokio::test]
async fn others_are_asked_for_once() {
    let Some(seaweed) = seaweed::shared() else { return };
    let bucket = seaweed.bucket();
    let agent = Agent::start(&[("AKREVOKED", "of-yesterday"), (ACCESS_KEY, SECRET_KEY)]);
    let store = s3_store(seaweed.address, &bucket.name, 5 << 20, container(&agent));
    let puts = (0..20).map(|number| {
        let (store, key) = (store.clone(), key(&format!("object/{number}")));
        async move { store.put(&key, vec!["content".into()], Precondition::Always).await.map_err(|error| error.kind) }
    });
    assert_eq!(join_all(puts).await, [Ok(()); 20]);
    assert_eq!(agent.asked(), 2);
}

#[tokio::test]
async fn the_second_refusal_is_the_answer() {
    let Some(seaweed) = seaweed::shared() else { return };
    let bucket = seaweed.bucket();
    let agent = Agent::start(&[("AKREVOKED", "of-yesterday")]);
    let store = s3_store(seaweed.address, &bucket.name, 5 << 20, container(&agent));
    for _ in 0..3 {
        assert_eq!(store.head(&key("object")).await.unwrap_err().kind, Kind::Denied);
    }
    assert!(agent.asked() <= 2, "{}", agent.asked());
}
