//! A seat for each open connection, and whose is taken away when there are no more.
//!
//! A connection waits for its client from when it is accepted until its first request's head is complete, and between two
//! requests. When all seats are taken, one that has waited for long gives up its own to who comes: idle connections cannot
//! keep others out, nor can handshakes and heads that never end. Where nobody waits, who comes does.
//!
//! Of the few that have waited for the longest time it is one whose address has the most connections. Whoever fills the
//! room in a moment would otherwise push out all others, whose connections are then the oldest.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::admission::{
    Admission, network,
    tally::{Kind, Tally},
};

/// How many of the longest waiting are looked at.
const OLDEST: usize = 8;

/// All seats of a server.
#[derive(Debug)]
pub(super) struct Seats {
    room: Mutex<Room>,
    /// A seat became free, or somebody's may be taken.
    changed: Notify,
    admission: Arc<Admission>,
}

#[derive(Debug, Default)]
struct Room {
    /// How many seats there are.
    most: usize,
    taken: usize,
    /// Those who wait for their clients, the longest first.
    waiting: BTreeMap<u64, Arc<Ticket>>,
    /// The last number that was given to one of them.
    last: u64,
    addresses: HashMap<IpAddr, usize>,
}

/// What a connection and the room know of each other. Both numbers change under the room's lock alone.
#[derive(Debug, Default)]
struct Ticket {
    /// In [`Room::waiting`]; 0 is not there.
    number: AtomicU64,
    /// The seat was taken away.
    revoked: AtomicBool,
    told: Notify,
    /// The client's, once it is known, and how many connections it had with this one. [`Room::addresses`] counts it.
    address: OnceLock<(IpAddr, usize)>,
}

/// One connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    ticket: Arc<Ticket>,
}

impl Seats {
    pub(super) fn new(most: usize, admission: Arc<Admission>) -> Arc<Self> {
        let room = Mutex::new(Room { most, ..Room::default() });
        Arc::new(Self { room, changed: Notify::new(), admission })
    }

    /// Who has a seat keeps it until somebody comes. There are no new ones before there are fewer than this.
    pub(super) fn resize(&self, most: usize) {
        self.lock().most = most;
        self.changed.notify_waiters();
    }

    /// A seat for somebody who waits for a client. Comes when there is one.
    pub(super) async fn take(self: &Arc<Self>) -> Seat {
        loop {
            let changed = self.changed.notified();
            if self.lock().sit(self.tally()) {
                let seat = Seat { seats: Arc::clone(self), ticket: Arc::default() };
                seat.waits();
                return seat;
            }
            changed.await;
        }
    }

    /// Sends away whoever has waited for the longest time: there is more amiss than a lack of seats.
    pub(super) fn shed(&self) {
        let mut room = self.lock();
        if room.revoke(self.tally()) {
            room.taken -= 1;
        }
    }

    fn tally(&self) -> &Tally {
        self.admission.tally()
    }

    fn lock(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Counts one more, in the place of another if need be.
    fn sit(&mut self, tally: &Tally) -> bool {
        // There may be fewer seats than there were.
        while self.taken > self.most && self.revoke(tally) {
            self.taken -= 1;
        }
        if self.taken < self.most {
            self.taken += 1;
            return true;
        }
        self.taken == self.most && self.revoke(tally)
    }

    fn revoke(&mut self, tally: &Tally) -> bool {
        let oldest = self.waiting.iter().take(OLDEST);
        let Some((&number, _)) = oldest.max_by_key(|(number, ticket)| (self.open(ticket), Reverse(**number))) else {
            return false;
        };
        let Some(ticket) = self.waiting.remove(&number) else { return false };
        ticket.number.store(0, Ordering::Relaxed);
        ticket.revoked.store(true, Ordering::Relaxed);
        ticket.told.notify_one();
        tally.add(Kind::ConnectionsShed);
        true
    }

    /// How many connections its client's address has.
    fn open(&self, ticket: &Ticket) -> usize {
        ticket.address.get().and_then(|(address, _)| self.addresses.get(address)).copied().unwrap_or_default()
    }

    fn stop_waiting(&mut self, ticket: &Ticket) {
        self.waiting.remove(&ticket.number.swap(0, Ordering::Relaxed));
    }
}

impl Seat {
    /// Says whose connection this is, which never changes; how many that client had then, with this one.
    pub(super) fn assign(&self, address: IpAddr) -> usize {
        let mut room = self.seats.lock();
        let count = || {
            let address = network(address);
            let open = room.addresses.entry(address).or_default();
            *open += 1;
            (address, *open)
        };
        self.ticket.address.get_or_init(count).1
    }

    /// From now on the client is waited for, and the seat may be taken away.
    pub(super) fn waits(&self) {
        let mut room = self.seats.lock();
        if self.ticket.revoked.load(Ordering::Relaxed) || self.ticket.number.load(Ordering::Relaxed) != 0 {
            return;
        }
        room.last += 1;
        let number = room.last;
        self.ticket.number.store(number, Ordering::Relaxed);
        room.waiting.insert(number, Arc::clone(&self.ticket));
        drop(room);
        self.seats.changed.notify_one();
    }

    /// The client has asked for something. False when the seat was taken away before.
    pub(super) fn works(&self) -> bool {
        let mut room = self.seats.lock();
        room.stop_waiting(&self.ticket);
        !self.ticket.revoked.load(Ordering::Relaxed)
    }

    /// Completes when the seat was taken away.
    pub(super) async fn revoked(&self) {
        self.ticket.told.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut room = self.seats.lock();
        room.stop_waiting(&self.ticket);
        if !self.ticket.revoked.load(Ordering::Relaxed) {
            room.taken -= 1;
        }
        if let Some((address, _)) = self.ticket.address.get()
            && let Some(open) = room.addresses.get_mut(address)
        {
            *open -= 1;
            if *open == 0 {
                room.addresses.remove(address);
            }
        }
        drop(room);
        self.seats.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn seat(seats: &Arc<Seats>) -> Option<Seat> {
        timeout(Duration::from_millis(20), seats.take()).await.ok()
    }

    async fn is_revoked(seat: &Seat) -> bool {
        timeout(Duration::from_millis(1), seat.revoked()).await.is_ok()
    }

    #[tokio::test]
    async fn whoever_waited_longest_gives_up_the_seat() {
        let seats = Seats::new(3, Arc::default());
        let first = seat(&seats).await.unwrap();
        let second = seat(&seats).await.unwrap();
        let third = seat(&seats).await.unwrap();
        assert!(first.works());
        first.waits();
        assert!(third.works());
        let fourth = seat(&seats).await.unwrap();
        assert!(is_revoked(&second).await && !second.works());
        assert!(fourth.works());
        let fifth = seat(&seats).await.unwrap();
        assert!(is_revoked(&first).await && !is_revoked(&third).await && !is_revoked(&fifth).await);
        assert!(fifth.works());
        drop((first, second));
        assert!(seat(&seats).await.is_none(), "nobody waits, and seats that were taken away are not free");
        drop(third);
        assert!(seat(&seats).await.is_some());
        assert_eq!(seats.admission.tally().total(Kind::ConnectionsShed), 2);
    }

    #[tokio::test]
    async fn who_comes_waits_for_a_seat() {
        let seats = Seats::new(1, Arc::default());
        let first = seat(&seats).await.unwrap();
        assert!(first.works());
        let (again, coming) = (Arc::clone(&seats), Arc::clone(&seats));
        let next = tokio::spawn(async move { coming.take().await });
        tokio::task::yield_now().await;
        first.waits();
        let second = timeout(Duration::from_secs(10), next).await.unwrap().unwrap();
        assert!(is_revoked(&first).await && second.works());
        let next = tokio::spawn(async move { again.take().await });
        tokio::task::yield_now().await;
        drop(second);
        timeout(Duration::from_secs(10), next).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn whose_address_has_many_goes_before_those_who_have_few() {
        let seats = Seats::new(4, Arc::default());
        let sit = async |address: &str| {
            let seat = seat(&seats).await.unwrap();
            seat.assign(address.parse().unwrap());
            seat
        };
        let few = sit("192.0.2.1").await;
        let mut many = Vec::new();
        for _ in 0..20 {
            many.push(sit("192.0.2.2").await);
        }
        assert!(!is_revoked(&few).await);
        let mut left = 0;
        for seat in &many {
            left += usize::from(!is_revoked(seat).await);
        }
        assert_eq!(left, 3);
    }

    #[tokio::test]
    async fn seats_can_become_fewer() {
        let seats = Seats::new(5, Arc::default());
        let mut all = Vec::new();
        for _ in 0..5 {
            all.push(seat(&seats).await.unwrap());
        }
        seats.resize(2);
        let last = seat(&seats).await.unwrap();
        let mut revoked = 0;
        for seat in &all {
            revoked += usize::from(is_revoked(seat).await);
        }
        assert_eq!(revoked, 4);
        assert!(!is_revoked(&last).await);
        drop(all);
        assert_eq!(seats.lock().taken, 1);
        drop(last);
        let room = seats.lock();
        assert_eq!((room.taken, room.waiting.len(), room.addresses.len()), (0, 0, 0));
    }

    #[tokio::test]
    async fn the_number_rises_and_falls_under_those_who_work() {
        let seats = Seats::new(3, Arc::default());
        // Takes as many as there are.
        let take_all = async || {
            let mut taken = Vec::new();
            while let Some(seat) = seat(&seats).await {
                assert!(seat.works());
                taken.push(seat);
            }
            taken
        };
        let mut held = take_all().await;
        assert_eq!(held.len(), 3);
        seats.resize(1);
        assert_eq!(take_all().await.len(), 0);
        held.truncate(2);
        held.truncate(1);
        assert_eq!(take_all().await.len(), 0);
        seats.resize(4);
        let more = take_all().await;
        assert_eq!(more.len(), 3);
        // Lowered and raised again while all are taken.
        seats.resize(2);
        seats.resize(4);
        drop((held, more));
        assert_eq!(take_all().await.len(), 4);
        seats.resize(2);
        assert_eq!(take_all().await.len(), 2);
    }

    #[tokio::test]
    async fn who_waits_for_a_seat_gets_one_that_is_added() {
        let seats = Seats::new(1, Arc::default());
        let first = seat(&seats).await.unwrap();
        assert!(first.works());
        let coming = Arc::clone(&seats);
        let next = tokio::spawn(async move { coming.take().await });
        tokio::task::yield_now().await;
        seats.resize(2);
        timeout(Duration::from_secs(10), next).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn each_address_has_its_share() {
        let seats = Seats::new(100, Arc::default());
        let mut all = Vec::new();
        let mut sit = async |address: &str| {
            let seat = seat(&seats).await.unwrap();
            let fits = seat.assign(address.parse().unwrap()) <= 2;
            assert_eq!(seat.assign(address.parse().unwrap()) <= 2, fits, "counted once");
            all.push(seat);
            fits
        };
        assert!(sit("192.0.2.1").await && sit("::ffff:192.0.2.1").await);
        assert!(!sit("192.0.2.1").await && sit("192.0.2.2").await);
        assert!(sit("2001:db8::1").await && sit("2001:db8::2").await && !sit("2001:db8::3").await);
        assert!(sit("2001:db8:0:1::1").await);
        all.clear();
        assert!(seats.lock().addresses.is_empty());
    }
}
