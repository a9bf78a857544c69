#pragma once

#include "actors/services.hpp"
#include "messages/unique_fd.hpp"
#include "runtime/child.hpp"

#include <map>

namespace troupe {

/// Where the monitors of instances that have system calls done for them connect to. Each gets a process of its own,
/// `troupe-syscalls`, with the connection, and nothing here reads a byte of it. A monitor whose process has ended
/// connects anew with its next call. Constructed by main; works on the loop's thread.
class syscall_door {
public:
  explicit syscall_door(services& with);
  ~syscall_door();
  syscall_door(const syscall_door&) = delete;
  syscall_door& operator=(const syscall_door&) = delete;

private:
  struct data;
  loop& io_;
  std::shared_ptr<data> data_;
};

} // namespace troupe
