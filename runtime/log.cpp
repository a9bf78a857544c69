#include "runtime/log.hpp"

#include "messages/unique_fd.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <spdlog/details/null_mutex.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace troupe {
namespace {

constexpr off_t file_bytes_max = 8 << 20;
constexpr int files_kept = 3; // beside the current one: FILE.1 is the youngest

void append_escaped(spdlog::memory_buf_t& to, std::string_view text) {
  static constexpr char hex[] = "0123456789abcdef";
  auto put = [&to](std::string_view s) { to.append(s.data(), s.data() + s.size()); };
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '\n')
      put("\\n");
    else if (c == '\t')
      put("\\t");
    else if (byte < 0x20 || byte == 0x7f) {
      char code[] = {'\\', 'x', hex[byte >> 4], hex[byte & 15]};
      put({code, sizeof code});
    } else
      to.push_back(c);
  }
}

std::string_view view(const spdlog::string_view_t& text) { return {text.data(), text.size()}; }

/// The payload on one line whatever a user put into it: no entry can be forged.
class escaped_payload final : public spdlog::custom_flag_formatter {
public:
  void format(const spdlog::details::log_msg& entry, const std::tm&, spdlog::memory_buf_t& to) override {
    append_escaped(to, view(entry.payload));
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<escaped_payload>(); }
};

std::unique_ptr<spdlog::formatter> line_format() {
  auto made = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  made->add_flag<escaped_payload>('*').set_pattern("%Y-%m-%dT%H:%M:%S.%fZ %l %*");
  return made;
}

/// Each entry is one write(2): nothing is lost when the daemon dies, and a full disk costs entries, not the daemon.
class file_sink final : public spdlog::sinks::base_sink<std::mutex> {
public:
  explicit file_sink(std::string path) : path_{std::move(path)} { open(); }
  bool is_open() const { return static_cast<bool>(fd_); }

protected:
  void sink_it_(const spdlog::details::log_msg& entry) override {
    spdlog::memory_buf_t line;
    formatter_->format(entry, line);
    auto length = static_cast<off_t>(line.size());
    if (bytes_ + length > file_bytes_max) rotate();
    if (fd_ && ::write(fd_.get(), line.data(), line.size()) == length) bytes_ += length;
  }
  void flush_() override {}

private:
  void open() {
    fd_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
    struct stat found {};
    bytes_ = fd_ && ::fstat(fd_.get(), &found) == 0 ? found.st_size : 0;
  }

  void rotate() {
    auto name = [this](int n) { return n == 0 ? path_ : path_ + "." + std::to_string(n); };
    for (int n = files_kept; n > 0; --n) ::rename(name(n - 1).c_str(), name(n).c_str());
    open();
  }

  std::string path_;
  unique_fd fd_;
  off_t bytes_ = 0;
};

using observer = std::function<void(int, std::string_view)>;

class observer_sink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
public:
  observer_sink() { set_level(spdlog::level::info); }
  void watch(observer next) {
    std::atomic_store(&observer_, next ? std::make_shared<const observer>(std::move(next)) : nullptr);
  }

protected:
  void sink_it_(const spdlog::details::log_msg& entry) override {
    static thread_local bool inside = false;
    auto call = std::atomic_load(&observer_);
    if (!call || inside) return;
    inside = true;
    spdlog::memory_buf_t text;
    append_escaped(text, view(entry.payload));
    try {
      (*call)(static_cast<int>(entry.level), {text.data(), text.size()});
    } catch (...) { // an observer cannot be allowed to make logging fail
    }
    inside = false;
  }
  void flush_() override {}

private:
  std::shared_ptr<const observer> observer_;
};

/// The one global of the program: there is one log, and everybody may write to it.
struct log_state {
  std::shared_ptr<observer_sink> observers = std::make_shared<observer_sink>();
  std::unique_ptr<spdlog::logger> logger = make({});

  log_state() { logger->set_level(spdlog::level::warn); }

  std::unique_ptr<spdlog::logger> make(std::vector<spdlog::sink_ptr> sinks) const {
    sinks.push_back(std::make_shared<spdlog::sinks::stderr_sink_mt>());
    sinks.push_back(observers);
    auto made = std::make_unique<spdlog::logger>("troupe", sinks.begin(), sinks.end());
    made->set_formatter(line_format());
    return made;
  }
};

log_state& state() {
  static auto* forever = new log_state; // never destroyed: threads and destructors may log until the very end
  return *forever;
}

} // namespace

void open_log(const std::string& file, bool debug) {
  auto to_file = std::make_shared<file_sink>(file);
  int why = errno;
  bool opened = to_file->is_open();
  auto made = opened ? state().make({to_file}) : state().make({});
  made->set_level(debug ? spdlog::level::debug : spdlog::level::info);
  state().logger = std::move(made);
  if (!opened) log().warn("Cannot open the log file {}: {}", file, std::strerror(why));
}

spdlog::logger& log() { return *state().logger; }

std::string field(std::string_view key, std::string_view value) {
  std::string made{key};
  made += '=';
  if (!value.empty() && value.find_first_of(" \"\\=") == std::string_view::npos) return made.append(value);
  made += '"';
  for (char c : value) {
    if (c == '"' || c == '\\') made += '\\';
    made += c;
  }
  return made += '"';
}

void observe_log(std::function<void(int level, std::string_view message)> observer) {
  state().observers->watch(std::move(observer));
}

} // namespace troupe
