//! The client side of fedmkt: from a job and a grant to weights and a receipt.
