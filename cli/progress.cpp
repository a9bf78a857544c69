#include "cli/progress.hpp"

#include <cstdio>
#include <iostream>
#include <sys/ioctl.h>
#include <unistd.h>

namespace troupe {

namespace {

constexpr std::chrono::milliseconds redraw_every{100};

size_t columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/// Text of tools goes to the terminal: without control characters.
std::string printable(std::string text) {
  for (auto& c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  return text;
}

} // namespace

progress::progress(std::string subject) : subject_{std::move(subject)}, live_{isatty(STDERR_FILENO) == 1} {}

progress::~progress() {
  if (drawn_) std::cerr << "\r\033[K" << std::flush;
}

void progress::step(const std::string& what) {
  step_ = printable(what);
  next_draw_ = {};
  if (live_)
    draw(step_);
  else
    std::cerr << subject_ << ": " << step_ << std::endl;
}

void progress::amount(uint64_t done_bytes, uint64_t total_bytes) {
  auto now = std::chrono::steady_clock::now();
  if (!live_ || now < next_draw_) return;
  next_draw_ = now + redraw_every;
  auto percent = total_bytes ? done_bytes * 100 / total_bytes : 100;
  draw(step_ + " " + std::to_string(percent) + "% of " + human_size(total_bytes));
}

void progress::say(const std::string& line) {
  if (drawn_) std::cerr << "\r\033[K";
  drawn_ = false;
  std::cerr << subject_ << ": " << printable(line) << std::endl;
}

void progress::draw(const std::string& text) {
  std::cerr << "\r\033[K" << (subject_ + ": " + text).substr(0, columns() - 1) << std::flush;
  drawn_ = true;
}

std::string human_size(uint64_t bytes) {
  static constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double amount = static_cast<double>(bytes);
  size_t unit = 0;
  while (amount >= 1024 && unit + 1 < std::size(units)) amount /= 1024, ++unit;
  char text[32];
  std::snprintf(text, sizeof text, unit ? "%.1f %s" : "%.0f %s", amount, units[unit]);
  return text;
}

} // namespace troupe
