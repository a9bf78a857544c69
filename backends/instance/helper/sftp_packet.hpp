#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe::files::sftp {

/// SFTP version 3 (draft-ietf-secsh-filexfer-02): a length, a type, and big-endian numbers and counted strings.
enum class kind : uint8_t {
  init = 1,
  version,
  open,
  close,
  read,
  write,
  lstat,
  fstat,
  setstat,
  fsetstat,
  opendir,
  readdir,
  remove,
  mkdir,
  rmdir,
  realpath,
  stat,
  rename,
  readlink,
  symlink,
  status = 101,
  handle,
  data,
  name,
  attrs,
  extended = 200,
  extended_reply,
};

enum class status : uint32_t {
  ok,
  end_of_file,
  no_such_file,
  permission_denied,
  failure,
  bad_message,
  no_connection,
  connection_lost,
  unsupported
};

/// Reads one packet's fields; after a field that is not there `good` is false and everything is empty.
class reader {
public:
  explicit reader(std::string_view bytes) : left_{bytes} {}
  uint8_t byte() { return static_cast<uint8_t>(number(1)); }
  uint32_t u32() { return static_cast<uint32_t>(number(4)); }
  uint64_t u64() { return number(8); }
  std::string_view text() { return take(u32()); }
  bool good() const { return good_; }

private:
  std::string_view take(size_t size) {
    if (size > left_.size()) {
      good_ = false;
      left_ = {};
      return {};
    }
    auto out = left_.substr(0, size);
    left_.remove_prefix(size);
    return out;
  }
  uint64_t number(size_t size) {
    uint64_t out = 0;
    for (unsigned char c : take(size)) out = out << 8 | c;
    return out;
  }
  std::string_view left_;
  bool good_ = true;
};

/// Makes one packet.
class writer {
public:
  explicit writer(kind what) : bytes_(4, '\0') { number(static_cast<uint64_t>(what), 1); }
  writer& u32(uint64_t value) { return number(value, 4); }
  writer& u64(uint64_t value) { return number(value, 8); }
  writer& text(std::string_view value) {
    u32(value.size());
    bytes_ += value;
    return *this;
  }
  /// With its length in front.
  std::string take() && {
    auto size = bytes_.size() - 4;
    for (int i = 0; i < 4; ++i) bytes_[static_cast<size_t>(i)] = static_cast<char>(size >> (24 - 8 * i));
    return std::move(bytes_);
  }

private:
  writer& number(uint64_t value, int size) {
    for (int i = size - 1; i >= 0; --i) bytes_ += static_cast<char>(value >> (8 * i));
    return *this;
  }
  std::string bytes_;
};

} // namespace troupe::files::sftp
