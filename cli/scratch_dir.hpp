#pragma once

#include "messages/error.hpp"

#include <string>

namespace troupe {

/// A private folder (mode 0700) below TMPDIR or /var/tmp, removed with all its content on destruction; never across a
/// mount point.
class scratch_dir {
public:
  static outcome<scratch_dir> make(const std::string& purpose);
  scratch_dir(scratch_dir&& other) noexcept : path_{std::exchange(other.path_, {})} {}
  scratch_dir& operator=(scratch_dir&&) = delete;
  ~scratch_dir();

  const std::string& path() const noexcept { return path_; }

private:
  explicit scratch_dir(std::string path) : path_{std::move(path)} {}
  std::string path_;
};

} // namespace troupe
