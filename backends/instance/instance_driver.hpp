#pragma once

#include "backends/instance/root_mount.hpp"
#include "messages/config_map.hpp"
#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace troupe {

struct id_range {
  uint32_t host = 0; // first id on the host
  uint32_t size = 0; // 0: privileged, ids are the host's own
};

/// One network card as the driver sees it; everything is decided by the caller.
enum class nic_kind : uint8_t { bridged, p2p, routed, macvlan, physical, ipvlan };
struct nic_plan {
  std::string parent;    // the host's bridge (bridged) or link (macvlan, physical, ipvlan)
  std::string host_name; // host side of a veth pair
  std::string name;      // inside, e.g. "eth0"
  std::string hwaddr;
  uint32_t mtu = 0; // 0: the bridge's
  nic_kind kind = nic_kind::bridged;
  std::vector<std::string> addresses = {}; // routed, ipvlan: what it has inside, "10.0.0.2/32"
  std::vector<std::string> gateways = {}; // routed, ipvlan: one of each family at most; 0.0.0.0 and ::: the link itself
  std::string mode = {};                  // ipvlan: "l3s" or "l2"
  std::string device = {};                // its name in the configuration
  /// A virtual machine's end of the tap, one for each queue; the kernel drops the tap with the last of them.
  std::vector<std::shared_ptr<unique_fd>> queues = {};
};

/// A directory or file of the host, or a new tmpfs, that appears inside.
struct mount_plan {
  std::string device;      // its name in the configuration, for errors
  std::string source;      // absolute, on the host; empty: a tmpfs
  std::string beneath;     // the source must not lead out of this folder; empty: the whole host
  std::string path;        // absolute, inside
  std::string options;     // of the tmpfs: "size=64m"
  std::string propagation; // "rslave"; empty: private
  bool readonly = false, recursive = false;
  bool shift = false;   // the instance's ids stand for the same ids on the host's disk
  bool required = true; // false: without its source there is nothing to do
};

/// Bounds on the block device that a path lies on; 0: none.
struct disk_limit {
  std::string path;
  uint64_t read_bytes = 0, read_ops = 0, write_bytes = 0, write_ops = 0; // a second
};

/// A device node that appears inside, and may be used.
struct node_plan {
  std::string device, path;
  char type = 'c'; // or 'b'
  uint32_t major = 0, minor = 0;
  uint32_t mode = 0660, uid = 0, gid = 0; // as the instance sees them
};

/// A disk of a virtual machine: a raw file or a block device, whatever its first bytes say.
enum class drive_kind : uint8_t { disk, cdrom };
struct drive_plan {
  std::string device;       // its name in the configuration; "root" for the root disk
  std::string file;         // absolute, on the host
  std::string beneath = {}; // the file must not lead out of this folder; empty: the whole host
  drive_kind kind = drive_kind::disk;
  bool readonly = false;
  std::string bus = "virtio-scsi"; // or virtio-blk, nvme
  std::string cache = "none";      // or writeback, unsafe
  int boot_priority = 0;           // the highest first; 0: after all that have one
  uint64_t read_bytes = 0, read_ops = 0, write_bytes = 0, write_ops = 0; // a second; 0: no limit
};

/// An instance that runs, as far as changing it needs.
struct live_instance {
  std::string key;
  pid_t leader = 0;
  id_range ids;
};

/// A file to be written into the root before init runs (a rendered image template).
struct boot_file {
  std::string path; // absolute inside the instance
  std::string content;
  bool create_only = false;
};

/// Everything that is needed to start an instance; no other knowledge reaches the driver.
struct boot_plan {
  std::string key;  // unique on this daemon: liblxc name and cgroup leaf ("c1", "project_c1")
  std::string name; // host name inside
  std::string architecture;
  root_mount root;
  id_range ids;
  config_map config; // expanded, validated: limits.*, security.*, environment.*, linux.*, raw.lxc
  std::vector<nic_plan> nics;
  std::vector<mount_plan> mounts;
  std::vector<node_plan> nodes;
  std::vector<disk_limit> disk_limits;
  std::vector<boot_file> files;
  std::string log_dir;   // lxc.log, console.log; exists
  std::string guest_dir; // shown read-only as /dev/lxd; empty: there is none
  // Of virtual machines only:
  std::string uuid;                        // of the machine, as its firmware tells it
  std::vector<drive_plan> drives;          // the root disk is one of them
  std::map<std::string, std::string> seed; // text files for its config drive by their paths: "user-data"
};

/// A started instance: the processes that prove it is alive.
struct boot_result {
  pid_t leader = 0;           // init, as the host sees it
  pid_t monitor = 0;          // ends when the instance is fully down (devices, cgroups gone)
  uint64_t monitor_start = 0; // /proc/PID/stat field 22: tells the monitor from a later process of that pid
  unique_fd leader_pidfd;
  unique_fd monitor_pidfd;
};

struct exec_plan {
  std::vector<std::string> command;
  config_map environment; // complete: nothing is inherited
  uint32_t uid = 0, gid = 0;
  std::string cwd;
  bool interactive = false; // a pty: `stdio[0]` is ignored on input; result carries the master
  uint16_t width = 0, height = 0;
  unique_fd stdio[3]; // non-interactive: what the process gets as 0, 1, 2
  /// Not empty: the command outlives its session and this process, and can be found again by this name. What runs it
  /// keeps copies of `ends` (our ends of the pipes in `stdio`) and the note, in memory only.
  std::string operation, note;
  unique_fd ends[3];
  uint64_t record = 0;     // not 0: stdio[1] and [2] are files; that many bytes of each output are copied there
  bool unattended = false; // nobody reads its terminal until somebody attends to it
};

/// A command that runs inside, or somebody at the console. `done` becomes readable when it ended; then call `result()`.
class exec_session {
public:
  virtual ~exec_session() = default;
  virtual int done_fd() const noexcept = 0;     // poll for readability
  virtual int pty() const noexcept = 0;         // master, or -1; of a console: a socket of its bytes
  virtual outcome<int> result() = 0;            // exit status, 128+n for a signal; after done_fd is readable
  virtual outcome<void> signal(int number) = 0; // to the command's process
  virtual outcome<void> resize(uint16_t width, uint16_t height) = 0;
  /// Of one that outlives us: nobody needs our end of that pipe any more (0: its input ends).
  virtual void close_end(int) {}
  /// Of one that outlives us: its result is on record, or nobody will ask for it. Without this it is kept for whoever
  /// finds the command next.
  virtual void forget() {}
};

/// A command that went on without us, or without anybody who reads what it says.
struct found_exec {
  std::unique_ptr<exec_session> session;
  std::string note;
  unique_fd ends[3];         // as in its plan; of a terminal none
  std::string output, error; // what came meanwhile: the last of it; of a terminal everything is `output`
  uint64_t lost = 0;         // bytes before that
};

/// File access inside an instance, confined to its root (openat2, no magic links, nothing escapes).
struct file_info {
  char type = 'f';                     // f regular file, d directory, l symlink
  uint32_t uid = 0, gid = 0, mode = 0; // as the instance sees them; mode: permission bits
  uint64_t size = 0;
  int64_t modified = 0;             // seconds since the epoch
  std::string target;               // of a symlink, as an absolute path inside
  std::vector<std::string> entries; // of a directory, sorted
  unique_fd content;                // of a regular file, open for reading
  bool streamed = false;            // `content` is a socket instead: reading the file itself might never return
};
struct file_write {
  char type = 'f'; // f, d, l
  bool append = false;
  std::optional<uint32_t> uid, gid, mode; // applied only to what is created
  std::string target;                     // of a symlink
};

/// How the root of a running or a stopped instance is reached.
struct file_root {
  pid_t leader = 0; // 0: stopped, use `root`
  root_mount root;
  id_range ids;
  std::string key = {};
};

struct instance_found {
  pid_t leader = 0, monitor = 0;
  uint64_t monitor_start = 0;
  bool frozen = false;
};

/// Something that a running machine told: "shutdown", "reset", "panicked", "disk-error", "agent-started",
/// "agent-stopped".
struct machine_news {
  std::string key, what, detail;
};

/// What somebody inside says about a running instance; absent: nobody does.
struct guest_report {
  struct address {
    std::string family, address, scope; // "inet", "10.0.0.2", "global"
    uint32_t prefix = 0;
  };
  struct card {
    std::string name, hwaddr, state, type; // "eth0", "00:16:3e:…", "up", "broadcast"
    uint32_t mtu = 0;
    uint64_t received = 0, sent = 0, packets_received = 0, packets_sent = 0; // bytes, packets
    uint64_t errors_received = 0, errors_sent = 0, drops_received = 0, drops_sent = 0;
    std::vector<address> addresses;
  };
  int64_t processes = -1;
  int64_t memory_total = 0, memory_used = 0, memory_peak = 0, swap_used = 0; // bytes
  int64_t root_used = 0, root_total = 0;                                     // bytes
  std::string os, os_version, kernel, hostname;
  std::vector<card> cards;
};

/// Runs instances of one kind. Thread-safe; every call may block and is made on a blocking thread.
/// Calls may be repeated: stopping what is down and thawing what runs both succeed.
class instance_driver {
public:
  virtual ~instance_driver() = default;
  virtual std::string version() const = 0;
  /// Boots it; returns when init runs. On error nothing of it is left (process, mount, veth, cgroup).
  virtual outcome<boot_result> start(const boot_plan& plan) = 0;
  /// Asks the instance's monitor, not a record: what runs under this key? nullopt: nothing.
  virtual outcome<std::optional<instance_found>> find(const std::string& key) = 0;
  /// Waits for a container that rebooted from inside to have its new init; nullopt: it went down instead.
  virtual outcome<std::optional<instance_found>> await_reboot(const std::string& key) = 0;
  /// Asks init to shut down (the signal that this init understands). Returns at once.
  virtual outcome<void> request_stop(const std::string& key, pid_t leader) = 0;
  /// Kills init. Returns at once; the monitor's end tells when it is all gone.
  virtual outcome<void> kill(const std::string& key, pid_t leader) = 0;
  /// For an instance that `kill` did not end in time: frees what it waits for, as far as that is its own, and ends its
  /// monitor if it must. The monitor's end tells, as always; timed_out: not even that ends.
  virtual outcome<void> end_by_force(const std::string& key, const instance_found& it) = 0;
  virtual outcome<void> freeze(const std::string& key) = 0;
  virtual outcome<void> unfreeze(const std::string& key) = 0;
  /// Starts a command; `stdio` descriptors of the plan are consumed.
  virtual outcome<std::unique_ptr<exec_session>> exec(const std::string& key, pid_t leader, exec_plan plan) = 0;
  /// Sits down at the console. There is one seat: a second session ends at once with a status other than 0. What the
  /// reader does not take in time is dropped; the instance never waits for it.
  virtual outcome<std::unique_ptr<exec_session>> console(const std::string& key, uint16_t width, uint16_t height) = 0;
  /// The console's ring buffer; `clear` empties it afterwards.
  virtual outcome<std::string> console_log(const std::string& key, bool clear) = 0;
  /// Makes the limits of a running instance what `config` says; a key that is absent means no limit. On error nothing
  /// has changed. `unsupported`: this host cannot.
  virtual outcome<void> limit(const std::string& key, const config_map& config,
                              const std::vector<disk_limit>& disks) = 0;
  /// Adds to a running instance, or takes away. Taking away what is not there succeeds.
  virtual outcome<void> plug(const live_instance& to, const mount_plan& what) = 0;
  virtual outcome<void> unplug(const live_instance& from, const mount_plan& what) = 0;
  virtual outcome<void> plug(const live_instance& to, const node_plan& what) = 0;
  virtual outcome<void> unplug(const live_instance& from, const node_plan& what) = 0;
  virtual outcome<void> plug(const live_instance&, const drive_plan&) { return no_machine(); }
  virtual outcome<void> unplug(const live_instance&, const drive_plan&) { return no_machine(); }
  virtual outcome<void> plug(const live_instance&, const nic_plan&) { return no_machine(); }
  virtual outcome<void> unplug(const live_instance&, const nic_plan&) { return no_machine(); }
  /// A connection to its screen, which speaks "spice" or "vnc" until it is closed.
  virtual outcome<unique_fd> display(const std::string&, std::string_view /*protocol*/) { return no_machine(); }
  /// A picture of its screen, as a PNG file.
  virtual outcome<std::string> screenshot(const std::string&) { return no_machine(); }
  /// What somebody inside reports, asked now and waited for two seconds at most.
  virtual std::optional<guest_report> ask_guest(const std::string&) { return std::nullopt; }
  /// Who hears of news; set once, before anything runs. Called on any thread, and must not block.
  virtual void listen(std::function<void(const machine_news&)>) {}
  /// Files. `path` is absolute inside the instance.
  virtual outcome<file_info> read_file(const file_root& root, const std::string& path) = 0;
  /// Creates or opens; for 'f' returns a descriptor to write the content to, else an empty one. It may be a socket;
  /// what was written is there when `finish_write` says so.
  virtual outcome<unique_fd> write_file(const file_root& root, const std::string& path, const file_write& how) = 0;
  virtual outcome<void> finish_write(const unique_fd& file) = 0;
  virtual outcome<void> remove_file(const file_root& root, const std::string& path) = 0;
  /// A socket that speaks SFTP (version 3) about these files, until it is closed.
  virtual outcome<unique_fd> serve_sftp(const file_root& root) = 0;
  /// Counters of a running instance, from its cgroups.
  struct usage {
    int64_t processes = -1;
    int64_t cpu_ns = 0;
    int64_t memory = 0, memory_peak = 0, swap = 0, swap_peak = 0; // bytes
  };
  virtual usage measure(const std::string& key, pid_t leader) = 0;
  /// What monitoring wants to know beyond that. The kernel's figures: nothing inside the instance is asked or waited
  /// for. What this host does not count is absent.
  struct cpu_time {
    std::string cpu; // a number; "0" where the kernel only knows the sum
    int64_t user_ns = 0, system_ns = 0;
  };
  struct disk_traffic {
    std::string device; // as in /dev
    int64_t read_bytes = 0, reads = 0, written_bytes = 0, writes = 0;
  };
  struct counters {
    std::vector<cpu_time> cpus;
    std::map<std::string, int64_t> memory; // bytes; names of cgroup v2's memory.stat, and "limit" if there is one
    std::optional<int64_t> oom_kills;
    std::vector<disk_traffic> disks;
  };
  virtual counters count(const std::string& key, pid_t leader) = 0;
  /// Removes what a dead instance of this key may have left on the host (processes, cgroups, sockets); idempotent, and
  /// done within seconds. Returns the processes that hang in the kernel: they are killed, but there until it lets go.
  virtual std::vector<pid_t> sweep(const std::string& key) = 0;
  /// The commands that outlive us, by their operation.
  virtual std::vector<std::string> list_execs() { return {}; }
  /// Takes one over; whoever had it before hears nothing of it any more. `attend`: its output is read here from now on;
  /// else what runs it reads and keeps the last of it, and the session only tells of its end. not_found: it is gone,
  /// and so is its name.
  virtual outcome<found_exec> find_exec(const std::string&, bool /*attend*/) {
    return fail(fault::not_found, "There is no such command");
  }

private:
  static tl::unexpected<error> no_machine() { return fail(fault::unsupported, "Only virtual machines have that"); }
};

} // namespace troupe
