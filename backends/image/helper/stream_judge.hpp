#pragma once

#include "backends/image/helper/sources.hpp"

#include <deque>

namespace troupe::unpack {

/// One file of an archive, written into a descriptor.
class file_sink final : public tree_sink {
public:
  explicit file_sink(int fd) : fd_{fd} {}
  bool wants_data(std::string_view) const noexcept override { return true; }
  outcome<void> directory(const placement&, const attributes&) override { return {}; }
  outcome<void> symlink(const placement&, const attributes&) override { return {}; }
  outcome<void> hardlink(const placement&) override { return {}; }
  outcome<void> fifo(const placement&, const attributes&) override { return {}; }
  outcome<void> begin_file(const placement&, uint64_t) override { return {}; }
  outcome<void> write(uint64_t offset, const char* data, size_t size) override;
  outcome<void> end_file(const attributes&) override { return {}; }
  outcome<void> finish() override { return {}; }

private:
  int fd_;
};

/// Of an optimised backup: the streams backup/container.bin and backup/snapshots/NAME.bin, each once and as the index
/// names them; and what optimized_header.yaml says of them is kept.
class stream_judge final : public entry_judge {
public:
  stream_judge(const std::vector<std::string>& trees, int first_file, unpack_limits of_all);

  outcome<std::optional<verdict>> judge(const archive_entry_facts& entry) override;
  outcome<void> finish() const;
  const std::string& text() const noexcept { return text_.text(); }

private:
  struct stream {
    std::string path;
    file_sink sink;
    bool seen = false;
  };
  unpack_rules whole_;
  std::deque<stream> streams_;
  check_sink text_;
  bool index_seen_ = false, text_seen_ = false;
};

} // namespace troupe::unpack
