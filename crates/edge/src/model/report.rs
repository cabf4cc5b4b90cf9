//! The storage resource report (WLCG Storage Resource Reporting, version 4): what a storage is, how large, how full, and for whom.

use std::collections::BTreeMap;

use dte_base::time::Timestamp;
use serde::Serialize;
use url::Url;

use super::properties::Room;
use crate::config::Quality;

/// What the files of an area take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub files: u64,
    pub bytes: u64,
    /// What the filesystem needs for them.
    pub on_disk: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, more: Usage) {
        self.files += more.files;
        self.bytes += more.bytes;
        self.on_disk += more.on_disk;
    }
}

/// The filesystem of an area; several areas may share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filesystem {
    pub device: u64,
    pub room: Room,
}

/// An area as it was when it was last looked through.
#[derive(Clone, Debug)]
pub struct Measured {
    pub area: String,
    pub vos: Vec<String>,
    pub usage: Usage,
    /// The same for each person, where each has a folder.
    pub people: Option<BTreeMap<String, Usage>>,
    pub filesystem: Filesystem,
    /// When it was looked through before, or the engine started.
    pub since: Timestamp,
    pub when: Timestamp,
}

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub storageservice: StorageService,
}

#[derive(Clone, Debug, Serialize)]
pub struct StorageService {
    name: String,
    id: String,
    servicetype: &'static str,
    implementation: &'static str,
    implementationversion: &'static str,
    qualitylevel: Quality,
    latestupdate: i64,
    capabilities: [&'static str; 3],
    storagecapacity: Capacity,
    storageendpoints: [Endpoint; 1],
    storageshares: Vec<Share>,
}

#[derive(Clone, Debug, Serialize)]
struct Capacity {
    online: Sizes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Sizes {
    totalsize: u64,
    usedsize: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Endpoint {
    name: &'static str,
    endpointurl: String,
    interfacetype: String,
    interfaceversion: &'static str,
    capabilities: [&'static str; 3],
    qualitylevel: Quality,
    assignedshares: [&'static str; 1],
}

#[derive(Clone, Debug, Serialize)]
struct Share {
    name: String,
    timestamp: i64,
    #[serde(flatten)]
    sizes: Sizes,
    numberoffiles: u64,
    path: [String; 1],
    vos: Vec<String>,
    assignedendpoints: [&'static str; 1],
    accesslatency: &'static str,
    retentionpolicy: &'static str,
    servingstate: &'static str,
}

const CAPABILITIES: [&str; 3] = ["data.access.flatfiles", "data.management.transfer", "data.management.storage"];

/// Makes the report. Each area may grow by what is free on its filesystem; a filesystem that several areas share counts once.
pub fn report(name: Option<&str>, quality: Quality, public_url: &Url, areas: &[Measured]) -> Report {
    let host = public_url.host_str().unwrap_or("localhost").to_owned();
    let dav = format!("{}/dav", public_url.as_str().trim_end_matches('/'));
    let shares = areas.iter().map(|area| Share {
        name: area.area.clone(),
        timestamp: area.when.as_seconds(),
        sizes: Sizes {
            totalsize: area.usage.bytes.saturating_add(area.filesystem.room.available),
            usedsize: area.usage.bytes,
        },
        numberoffiles: area.usage.files,
        path: [format!("{}/dav/{}", public_url.path().trim_end_matches('/'), area.area)],
        vos: area.vos.clone(),
        assignedendpoints: ["all"],
        accesslatency: "online",
        retentionpolicy: "replica",
        servingstate: "open",
    });
    let filesystems: BTreeMap<u64, Room> =
        areas.iter().map(|area| (area.filesystem.device, area.filesystem.room)).collect();
    let sum = |part: fn(&Room) -> u64| filesystems.values().map(part).fold(0, u64::saturating_add);
    let used = sum(|room| room.used);
    Report {
        storageservice: StorageService {
            name: name.map_or_else(|| host.clone(), str::to_owned),
            id: host,
            servicetype: "org.dte.edge",
            implementation: "dte",
            implementationversion: env!("CARGO_PKG_VERSION"),
            qualitylevel: quality,
            // The report is no newer than the oldest number in it.
            latestupdate: areas.iter().map(|area| area.when.as_seconds()).min().unwrap_or(0),
            capabilities: CAPABILITIES,
            storagecapacity: Capacity {
                online: Sizes { totalsize: used.saturating_add(sum(|room| room.available)), usedsize: used },
            },
            storageendpoints: [Endpoint {
                name: "webdav",
                endpointurl: dav,
                interfacetype: public_url.scheme().to_owned(),
                interfaceversion: "1.1",
                capabilities: CAPABILITIES,
                qualitylevel: quality,
                assignedshares: ["all"],
            }],
            storageshares: shares.collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filesystems_count_once() {
        let area = |name: &str, device, bytes, when| Measured {
            area: name.into(),
            vos: vec!["enso".into()],
            usage: Usage { files: 1, bytes, on_disk: bytes },
            people: None,
            since: Timestamp::from_seconds(0),
            filesystem: Filesystem { device, room: Room { used: 100, available: 50 } },
            when: Timestamp::from_seconds(when),
        };
        let areas = [area("a", 1, 10, 8), area("b", 1, 20, 7), area("c", 2, 0, 9)];
        let url: Url = "https://se.example:8443/x/".parse().expect("url");
        let service = report(Some("SE"), Quality::PreProduction, &url, &areas).storageservice;
        assert_eq!(service.storagecapacity.online, Sizes { totalsize: 300, usedsize: 200 });
        let sizes: Vec<Sizes> = service.storageshares.iter().map(|share| share.sizes).collect();
        assert_eq!(sizes[1], Sizes { totalsize: 70, usedsize: 20 });
        assert_eq!((service.latestupdate, service.id.as_str()), (7, "se.example"));
        assert_eq!(service.storageendpoints[0].endpointurl, "https://se.example:8443/x/dav");
        assert_eq!(service.storageshares[0].path, ["/x/dav/a"]);
    }
}
