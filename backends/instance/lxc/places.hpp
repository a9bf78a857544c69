#pragma once

namespace troupe::lxc {

/// Below lxcpath: the file whose bytes stand for keys while they are being started; see lock_key.
inline constexpr const char* start_locks = "/.starts";
/// Below lxcpath, root's only: the sockets of commands that outlive the daemon, named by their operations.
inline constexpr const char* exec_sockets = "/.execs";

} // namespace troupe::lxc
