#pragma once
#include <string>

class String {
 public:
  String() {}
  String(const char* text) : _text(text != nullptr ? text : "") {}
  explicit String(int number) : _text(std::to_string(number)) {}
  explicit String(unsigned int number) : _text(std::to_string(number)) {}
  explicit String(long number) : _text(std::to_string(number)) {}
  explicit String(unsigned long number) : _text(std::to_string(number)) {}
  String& operator=(const char* text) {
    _text = text != nullptr ? text : "";
    return *this;
  }
  const char* c_str() const { return _text.c_str(); }
  unsigned int length() const { return static_cast<unsigned int>(_text.size()); }
  bool isEmpty() const { return _text.empty(); }
  char operator[](unsigned int index) const { return index < _text.size() ? _text[index] : '\0'; }
  String& operator+=(const String& other) {
    _text += other._text;
    return *this;
  }
  String& operator+=(const char* other) {
    _text += other;
    return *this;
  }
  bool operator==(const String& other) const { return _text == other._text; }
  bool operator==(const char* other) const { return _text == other; }
  bool operator!=(const char* other) const { return _text != other; }
  bool equals(const String& other) const { return _text == other._text; }
  bool startsWith(const String& other) const { return _text.compare(0, other._text.size(), other._text) == 0; }
  int indexOf(const String& other) const {
    const std::string::size_type at = _text.find(other._text);
    return at == std::string::npos ? -1 : static_cast<int>(at);
  }
  String substring(unsigned int from) const {
    return from < _text.size() ? String(_text.substr(from).c_str()) : String();
  }

 private:
  std::string _text;
};

inline String operator+(String left, const String& right) { return left += right; }
inline String operator+(String left, const char* right) { return left += right; }
inline String operator+(const char* left, const String& right) { return String(left) += right; }
