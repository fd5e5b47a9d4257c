# An OCI runtime configuration: the smallest that crun and runc take, with the hook of hooks.d in its two stages.
def hook: $hooks[0].hook | {path, args, timeout} | with_entries(select(.value != null));
{
    ociVersion: "1.0.2",
    process: {
        user: {uid: 0, gid: 0},
        args: $ARGS.positional,
        env: ["PATH=/bin"],
        cwd: "/",
        capabilities: (["CAP_NET_RAW", "CAP_NET_BIND_SERVICE", "CAP_KILL"] as $kept
            | {bounding: $kept, effective: $kept, permitted: $kept})
    },
    root: {path: $rootfs, readonly: true},
    hostname: $id,
    annotations: {"io.netkitd.network": "default"},
    mounts: [
        {destination: "/proc", type: "proc", source: "proc"},
        {destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"]},
        {destination: "/tmp", type: "tmpfs", source: "tmpfs"},
        {destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"]}
    ],
    hooks: ([$hooks[0].stages[] | {key: ., value: [hook]}] | from_entries),
    linux: {namespaces: [{type: "pid"}, {type: "network"}, {type: "ipc"}, {type: "uts"}, {type: "mount"}]}
}
