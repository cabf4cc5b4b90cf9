//! Identifiers that both sides can work out.

use uuid::Uuid;

/// The namespace of all FTS identifiers (`base_id` in `/whoami`); every FTS server has the same one.
pub const BASE_ID: Uuid = Uuid::from_u128(0x01874efb_4735_4595_bc9c_591aef8240c9);

/// The identifier of a virtual organisation: UUIDv5 of its name (`vos_id` in `/whoami`).
pub fn vo_id(vo: &str) -> Uuid {
    Uuid::new_v5(&BASE_ID, vo.as_bytes())
}

/// The identifier of a job that is submitted with `id_generator=deterministic` and this `sid`.
pub fn deterministic_job_id(vo: &str, sid: &str) -> Uuid {
    Uuid::new_v5(&vo_id(vo), sid.as_bytes())
}

/// `dest_surl_uuid`: the identifier of a destination.
pub fn destination_id(url: &str) -> Uuid {
    Uuid::new_v5(&BASE_ID, url.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_reference_computes_them() {
        assert_eq!(BASE_ID.to_string(), "01874efb-4735-4595-bc9c-591aef8240c9");
        // uuid.uuid5(uuid.uuid5(uuid.UUID("01874efb-4735-4595-bc9c-591aef8240c9"), "testvo"), "a-sid") in Python.
        assert_eq!(deterministic_job_id("testvo", "a-sid").to_string(), "3b2e8490-1975-5240-a1d7-a828ee03c528");
    }
}
