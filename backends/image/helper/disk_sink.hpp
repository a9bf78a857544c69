#pragma once

#include "backends/image/helper/tree_sink.hpp"
#include "messages/unique_fd.hpp"

namespace troupe::unpack {

/// Writes below one directory. The rules have judged the names already; the kernel judges them again: every parent is
/// opened beneath the root without following any link, every file is created, never opened.
class disk_sink final : public tree_sink {
public:
  explicit disk_sink(unique_fd root) : root_{std::move(root)} {}
  bool wants_data(std::string_view) const noexcept override { return true; }
  outcome<void> directory(const placement& at, const attributes& attrs) override;
  outcome<void> symlink(const placement& at, const attributes& attrs) override;
  outcome<void> hardlink(const placement& at) override;
  outcome<void> fifo(const placement& at, const attributes& attrs) override;
  outcome<void> begin_file(const placement& at, uint64_t size) override;
  outcome<void> write(uint64_t offset, const char* data, size_t size) override;
  outcome<void> end_file(const attributes& attrs) override;
  outcome<void> finish() override;

private:
  outcome<unique_fd> open_beneath(const std::string& path);
  outcome<int> parent_of(const std::string& path);
  outcome<void> write_at(uint64_t offset, const char* data, size_t size);
  outcome<int> make_way(const placement& at); // the parent, with an earlier entry of that name removed

  unique_fd root_;
  unique_fd parent_; // of the last entry: entries come in runs
  std::string parent_path_;
  std::vector<std::pair<std::string, timespec>> times_; // of directories: set at the end, filling them changes them
  unique_fd file_;
  std::string file_path_;
  uint64_t file_size_ = 0;
  uint64_t file_end_ = 0;
  bool sparse_ = false; // blocks of zeros become holes
};

} // namespace troupe::unpack
