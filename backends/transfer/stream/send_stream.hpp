#pragma once

#include "messages/error.hpp"

#include <array>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// 16 bytes, as subvolumes are named in streams.
using subvolume_id = std::array<unsigned char, 16>;
std::string text_of(const subvolume_id& id); // "0123abcd-..."
std::optional<subvolume_id> parse_subvolume_id(std::string_view text);

/// What streams of `btrfs send` (version 1) say, by the kernel's numbers.
enum class send_verb : uint16_t {
  subvolume = 1,
  snapshot = 2,
  make_file = 3,
  make_directory = 4,
  make_node = 5,
  make_fifo = 6,
  make_socket = 7,
  symlink = 8,
  rename = 9,
  link = 10,
  unlink = 11,
  remove_directory = 12,
  set_xattr = 13,
  remove_xattr = 14,
  write = 15,
  clone = 16,
  truncate = 17,
  change_mode = 18,
  change_owner = 19,
  set_times = 20,
  end = 21,
};

/// One command; the views are good until the next one is read. What a verb needs is there, all else is empty.
struct send_command {
  send_verb verb = send_verb::end;
  std::string_view path, to, link, xattr, data, clone_path;
  uint64_t offset = 0, size = 0, mode = 0, owner = 0, group = 0, device = 0, clone_offset = 0, clone_size = 0;
  timespec accessed{}, modified{};
  subvolume_id id{}, clone_id{};
};

/// Reads a stream from a file, pipe or socket, which is hostile: lengths, sums and attributes are checked, paths and
/// meaning are not. One thread.
class send_stream {
public:
  explicit send_stream(int fd) : fd_{fd} {}
  /// fault::invalid, unsupported (another version). Behind send_verb::end there is nothing.
  outcome<send_command> next();
  uint64_t bytes() const noexcept { return bytes_; } // read up to here

private:
  outcome<void> read_head();
  outcome<void> read(char* into, size_t size);

  int fd_;
  bool begun_ = false;
  uint64_t bytes_ = 0;
  std::vector<char> frame_;
};

} // namespace troupe
