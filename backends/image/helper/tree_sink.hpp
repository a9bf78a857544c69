#pragma once

#include "backends/image/unpack_rules.hpp"
#include "backends/storage/root_disk.hpp"

#include <ctime>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace troupe::unpack {

struct attributes {
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t mode = 0; // permission bits
  timespec modified{};
  std::vector<std::pair<std::string, std::string>> xattrs;
};

/// Receives the accepted entries of an image in archive order; parents may come late or never.
class tree_sink {
public:
  virtual ~tree_sink() = default;
  /// false: of this file the sink only looks at the name.
  virtual bool wants_data(std::string_view path) const noexcept = 0;
  virtual outcome<void> directory(const placement& at, const attributes& attrs) = 0;
  virtual outcome<void> symlink(const placement& at, const attributes& attrs) = 0;
  virtual outcome<void> hardlink(const placement& at) = 0;
  virtual outcome<void> fifo(const placement& at, const attributes& attrs) = 0;
  /// A file: begin, any number of writes at rising offsets (holes between them), end.
  virtual outcome<void> begin_file(const placement& at, uint64_t size) = 0;
  virtual outcome<void> write(uint64_t offset, const char* data, size_t size) = 0;
  virtual outcome<void> end_file(const attributes& attrs) = 0;
  /// Everything came: settle times, put it on disk.
  virtual outcome<void> finish() = 0;
};

/// Only attributes that belong to the container are kept: user.*, file capabilities and access lists.
bool keeps_xattr(std::string_view name) noexcept;

/// templates/ and metadata.yaml are the daemon's: root's, and never executable or setuid.
void own_by_daemon(std::string_view path, attributes& attrs);

/// Hands the entry to the method of its kind. Files are begun only.
outcome<void> emit(tree_sink& sink, entry_kind kind, const placement& at, const attributes& attrs, uint64_t size);

/// Keeps one file and what the disk of a virtual machine begins with, forgets the rest.
class check_sink final : public tree_sink {
public:
  explicit check_sink(std::string wanted = "metadata.yaml") : wanted_{std::move(wanted)} {}
  bool wants_data(std::string_view path) const noexcept override { return path == wanted_ || path == root_disk_name; }
  outcome<void> directory(const placement&, const attributes&) override { return {}; }
  outcome<void> symlink(const placement&, const attributes&) override { return {}; }
  outcome<void> hardlink(const placement&) override { return {}; }
  outcome<void> fifo(const placement&, const attributes&) override { return {}; }
  outcome<void> begin_file(const placement& at, uint64_t size) override;
  outcome<void> write(uint64_t offset, const char* data, size_t size) override;
  outcome<void> end_file(const attributes&) override { return {}; }
  outcome<void> finish() override { return {}; }
  const std::string& text() const noexcept { return text_; }
  /// nullopt: there was none.
  const std::optional<uint64_t>& disk_size() const noexcept { return disk_size_; } // of the file
  const std::string& disk_head() const noexcept { return disk_head_; }

private:
  std::string wanted_;
  std::string text_;
  bool in_text_ = false, in_disk_ = false;
  std::optional<uint64_t> disk_size_;
  std::string disk_head_;
};

} // namespace troupe::unpack
