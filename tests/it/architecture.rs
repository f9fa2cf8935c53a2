//! Who may know whom. A new arrow is one line in these tables, seen in review.
