#pragma once

#include "backends/image/unpack_rules.hpp"
#include "backends/transfer/stream/send_stream.hpp"
#include "messages/unique_fd.hpp"

namespace troupe::transfer {

/// Makes a directory what a stream says: an empty one, or the copy of a base that the stream builds on. Nothing but
/// these two is ever named by it: every path is resolved beneath them, without links. Owners, modes, times, links,
/// nodes, and the attributes that belong to a container are kept.
class stream_tree {
public:
  struct base {
    unique_fd root; // to clone from, as it was; read only
    subvolume_id id;
  };
  stream_tree(unique_fd root, std::optional<base> on, unpack_limits limits)
      : root_{std::move(root)}, base_{std::move(on)}, limits_{limits} {}

  outcome<void> apply(const send_command& command);
  /// Everything came: the directory itself becomes the daemon's, and all is put on disk.
  outcome<void> finish();
  const subvolume_id& id() const noexcept { return id_; } // what the stream is of

private:
  struct place {
    int parent = -1;
    std::string name; // one component; "." is the root itself
  };
  struct second_place { // of a command that has two
    unique_fd parent;
    std::string name;
  };
  outcome<void> begin(const send_command& command);
  outcome<void> act(const send_command& command);
  outcome<void> make(const send_command& command);
  outcome<void> rename(const send_command& command);
  outcome<void> link(const send_command& command);
  outcome<void> remove(const send_command& command, int flags);
  outcome<void> xattr(const send_command& command);
  outcome<void> write(const send_command& command);
  outcome<void> clone(const send_command& command);
  outcome<void> truncate(const send_command& command);
  outcome<void> change_mode(const send_command& command);
  outcome<void> settle(const send_command& command);

  outcome<void> check(std::string_view path) const;
  outcome<place> locate(std::string_view path, bool may_be_root = false);
  outcome<second_place> locate_second(std::string_view path) const;
  tl::unexpected<error> too_many() const;
  outcome<unique_fd> open_file(int root, std::string_view path, int flags) const;
  outcome<int> writable(std::string_view path);
  outcome<void> count_bytes(uint64_t from, uint64_t size);
  void forget_places();

  unique_fd root_;
  std::optional<base> base_;
  unpack_limits limits_;
  subvolume_id id_{};
  bool begun_ = false;
  uint64_t entries_ = 0, bytes_ = 0;
  unique_fd parent_, file_; // those used last: commands come in runs
  std::string parent_path_, file_path_;
};

} // namespace troupe::transfer
