//! Stores around stores.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pierhead::{
    clock::SystemClock,
    store::{
        Distance, Limits, Parts, Precondition, Store,
        error::{Kind, Operation},
        faulty::{Faulty, Plan, When},
        locate::{Locate as _, Visitor, base::Base, redirect::Redirect},
        memory::Memory,
        metered::Metered,
    },
};

use crate::store::contract::{key, read};

fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(
        Limits { parts: Parts::Appended, parts_max: 10, distance: Distance::Here },
        Arc::new(SystemClock),
    ))
}

#[tokio::test]
async fn the_planned_call_fails_on_the_planned_side() {
    for (when, effect) in [(When::Before, Err(Kind::NotFound)), (When::After, Ok("content".to_owned()))] {
        let inner = memory();
        let store = Faulty::new(Arc::clone(&inner), Plan { call: 2, when, kind: Kind::Unavailable });
        let put = async |at| store.put(&key(at), vec![Bytes::from("content")], Precondition::Always).await;
        put("a/1").await.unwrap();
        assert_eq!(put("a/2").await.unwrap_err().kind, Kind::Unavailable);
        assert_eq!(read(&*inner, "a/2", None).await, effect, "{when:?}");
        put("a/3").await.unwrap();
        let expected = ["a/1", "a/2", "a/3"].map(|at| (Operation::Put, at.to_owned()));
        assert_eq!(store.operations(), expected);
        assert_eq!(store.calls(), 3);
    }
}

#[tokio::test]
async fn every_call_is_observed() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let store = {
        let seen = Arc::clone(&seen);
        Metered::new(memory(), move |observation| {
            seen.lock().unwrap().push((observation.operation, observation.outcome));
        })
    };
    store.put(&key("a"), Vec::new(), Precondition::Always).await.unwrap();
    store.head(&key("b")).await.unwrap_err();
    let expected = [(Operation::Put, Ok(())), (Operation::Head, Err(Kind::NotFound))];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn addresses_are_observed_too() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let locator = {
        let seen = Arc::clone(&seen);
        let redirect = Redirect::new(Base::new("https://cdn.example.com").unwrap());
        Metered::new(Arc::new(redirect), move |observation| seen.lock().unwrap().push(observation.operation))
    };
    let located = locator.locate(&key("a"), &Visitor::default()).await.unwrap();
    assert_eq!(located.map(|uri| uri.to_string()).as_deref(), Some("https://cdn.example.com/a"));
    assert_eq!(*seen.lock().unwrap(), [Operation::Locate]);
}
