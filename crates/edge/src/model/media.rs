//! The media type of a file, told by its name.

const OCTETS: &str = "application/octet-stream";

/// Types of files that twins and sites keep; a browser is never made to run anything.
const KNOWN: &[(&str, &str)] = &[
    ("csv", "text/csv"),
    ("txt", "text/plain; charset=utf-8"),
    ("log", "text/plain; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("json", "application/json"),
    ("geojson", "application/geo+json"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("xml", "application/xml"),
    ("toml", "application/toml"),
    ("nc", "application/x-netcdf"),
    ("nc4", "application/x-netcdf"),
    ("h5", "application/x-hdf5"),
    ("hdf5", "application/x-hdf5"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("pdf", "application/pdf"),
    ("gz", "application/gzip"),
    ("zst", "application/zstd"),
    ("zip", "application/zip"),
    ("tar", "application/x-tar"),
    ("parquet", "application/vnd.apache.parquet"),
];

/// The media type of a file of this name.
pub fn type_of(name: &str) -> &'static str {
    let Some((_, extension)) = name.rsplit_once('.') else { return OCTETS };
    KNOWN.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension)).map_or(OCTETS, |(_, media)| media)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_extension() {
        assert_eq!(type_of("nino12.CSV"), "text/csv");
        assert_eq!(type_of("page.html"), OCTETS);
        assert_eq!(type_of("noname"), OCTETS);
    }
}
