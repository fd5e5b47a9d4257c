PRAGMA application_id = 1852531761;
PRAGMA user_version = 5;
CREATE TABLE node (
    boot_id          TEXT    NOT NULL,
    next_endpoint_id INTEGER NOT NULL CHECK (next_endpoint_id BETWEEN 1 AND 4294967296)
) STRICT;
INSERT INTO node VALUES ('', 1);

CREATE TABLE endpoints (
    id             INTEGER PRIMARY KEY CHECK (id BETWEEN 0 AND 4294967295),
    netns_cookie   INTEGER NOT NULL,
    network        TEXT    NOT NULL,
    interface_name TEXT    NOT NULL,
    ipv4           TEXT,
    ipv6           TEXT,
    mtu            INTEGER NOT NULL CHECK (mtu BETWEEN 0 AND 4294967295),
    device_mode    TEXT    NOT NULL,
    host_name      TEXT    NOT NULL,
    host_ifindex   INTEGER NOT NULL CHECK (host_ifindex BETWEEN 0 AND 4294967295),
    host_mac       BLOB    NOT NULL CHECK (length(host_mac) = 6),
    peer_mac       BLOB    NOT NULL CHECK (length(peer_mac) = 6),
    created_ns     INTEGER NOT NULL
) STRICT;

CREATE TABLE members (
    endpoint_id    INTEGER NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    position       INTEGER NOT NULL,
    container_id   TEXT    NOT NULL,
    pid            INTEGER CHECK (pid BETWEEN 0 AND 2147483647),
    pid_start_time INTEGER NOT NULL,
    PRIMARY KEY (endpoint_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE host_changes (
    position INTEGER PRIMARY KEY,
    what     TEXT NOT NULL UNIQUE,
    before   TEXT NOT NULL,
    after    TEXT NOT NULL
) STRICT;
CREATE TABLE freed_addresses (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    address  TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE networks (
    prefix  TEXT PRIMARY KEY,
    gateway TEXT NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE node ADD COLUMN written_by TEXT NOT NULL DEFAULT '';

ALTER TABLE endpoints ADD COLUMN home INTEGER NOT NULL DEFAULT 0 CHECK (home BETWEEN 0 AND 4294967295);

ALTER TABLE endpoints ADD COLUMN published TEXT NOT NULL DEFAULT '';
UPDATE node SET boot_id = '0f0f0f0f-1111-2222-3333-444444444444', next_endpoint_id = 8;
INSERT INTO endpoints VALUES (7, 42, 'default', 'eth0', '10.77.0.2', 'fd6e:6b64::2', 1500, 'netkit', 'nk00000007', 107,
    x'020000000001', x'020000000002', 1750000000123456789, 7, '8080:80/tcp');
INSERT INTO members VALUES (7, 0, 'web', 4242, 77);
INSERT INTO host_changes VALUES (1, 'sysctl net.ipv4.ip_local_reserved_ports', '', '49152-65535');
INSERT INTO freed_addresses VALUES (1, '10.77.0.9');
INSERT INTO networks VALUES ('10.77.0.0/16', '10.77.0.1');
UPDATE node SET written_by = '0.2.0';
