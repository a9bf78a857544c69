#include "gateway/sys_files.hpp"

#include <cstdlib>
#include <fstream>

namespace troupe {

namespace fs = std::filesystem;

std::string line_of(const fs::path& file) {
  std::ifstream in{file};
  std::string line;
  std::getline(in, line);
  return line;
}

uint64_t number_of(const fs::path& file, uint64_t fallback) {
  auto line = line_of(file);
  char* end = nullptr;
  auto value = std::strtoull(line.c_str(), &end, 10);
  return end == line.c_str() ? fallback : value;
}

std::string trimmed(std::string text) {
  text.erase(0, text.find_first_not_of(" \t"));
  text.erase(text.find_last_not_of(" \t\n") + 1);
  return text;
}

std::string name_of_link(const fs::path& link) {
  std::error_code none;
  auto to = fs::read_symlink(link, none);
  return none ? std::string{} : to.filename().string();
}

} // namespace troupe
